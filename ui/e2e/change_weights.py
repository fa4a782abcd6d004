"""Rewrite a session's log as if other weights had made its masks: change_weights.py LOG.

Lines of a log are chained by hashes, so the log is written again from its first line.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

from segscope.session.command_log import CommandLog, read_log

path = Path(sys.argv[1])
content = read_log(path)
other = {**content.header.engine, "weights": "0000000000000000"}
changed = path.with_name("changed.jsonl")
log = CommandLog.create(changed, replace(content.header, engine=other))
for line in content.lines:
    log.append(line)
os.replace(changed, path)
