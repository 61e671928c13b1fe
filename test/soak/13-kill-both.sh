#!/bin/bash
# The long form of test/crash/40-kill-both.sh.
# time: 1500
KILLS=200 SEED=$$ exec "$HULL_TOP/test/crash/40-kill-both.sh"
