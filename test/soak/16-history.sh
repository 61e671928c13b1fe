#!/bin/bash
# The long form of test/kube/45-history.sh.
# time: 1500
KILLS=200 SEED=$$ exec "$HULL_TOP/test/kube/45-history.sh"
