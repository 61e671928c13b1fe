#!/bin/bash
# The long form of test/crash/10-kill-daemon.sh.
# time: 1500
KILLS=200 SEED=$$ exec "$HULL_TOP/test/crash/10-kill-daemon.sh"
