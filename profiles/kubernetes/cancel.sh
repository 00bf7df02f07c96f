#!/bin/sh
# cancel.sh JOB [JOB ...]: training stops at a checkpoint when its pod is ended.
exec kubectl delete --wait=false "$@"
