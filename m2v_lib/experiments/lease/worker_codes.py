"""What a worker's exit codes mean to the process that started it. No torch here."""

#: The device has failed: what was begun can go on in a fresh process.
DEVICE_FAILED = 3
