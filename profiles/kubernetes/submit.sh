#!/bin/sh
# submit.sh MEM_MB CPUS JOBSCRIPT: run a job script of Snakemake as a Kubernetes Job; prints the Job's name.
set -eu
: "${M2V_IMAGE:?must name the image, built from Dockerfile, that the jobs run in}"
: "${M2V_CLAIM:?must name the persistent volume claim that holds the checkout}"

# A GPU each: M2V_GPUS=1, and the image of the stage `cuda`.
kubectl create -o name -f - <<YAML
apiVersion: batch/v1
kind: Job
metadata:
  generateName: m2v-
spec:
  backoffLimit: 0
  ttlSecondsAfterFinished: 86400
  template:
    spec:
      restartPolicy: Never
      containers:
        - name: job
          image: "$M2V_IMAGE"
          command: ["sh", "$3"]
          workingDir: "$PWD"
          env:
            - {name: M2V_DATA, value: "${M2V_DATA:-}"}
          resources:
            limits: {memory: "$1Mi", cpu: "$2", nvidia.com/gpu: "${M2V_GPUS:-0}"}
          volumeMounts:
            - {name: files, mountPath: "${M2V_MOUNT:-/m2v}"}
      volumes:
        - name: files
          persistentVolumeClaim: {claimName: "$M2V_CLAIM"}
YAML
