#!/bin/bash
# The long form of test/crash/60-machines.sh.
# time: 1500
KILLS=60 SEED=$$ exec "$HULL_TOP/test/crash/60-machines.sh"
