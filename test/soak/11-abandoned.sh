#!/bin/bash
# The long form of test/crash/20-abandoned.sh.
# time: 1500
CLIENTS=1000 exec "$HULL_TOP/test/crash/20-abandoned.sh"
