"""How the operator takes each end of lake, with a shell script in lake's place."""

import os
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(__file__))

from airflow.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from lake_operator import LakeOperator


def script(text: str) -> str:
    path = os.path.join(tempfile.mkdtemp(), "lake")
    with open(path, "w") as f:
        f.write("#!/bin/sh\n" + text)
    os.chmod(path, 0o755)
    return path


def operator(text: str, **kwargs) -> LakeOperator:
    return LakeOperator(task_id="t", lake=script(text), arguments=["load", "job.yaml"], **kwargs)


class Ends(unittest.TestCase):
    def test_the_result_is_the_last_line(self):
        done = operator('echo "a line" >&2; echo progress; echo "{\\"arguments\\": \\"$*\\", \\"x\\": \\"$X\\"}"', env={"X": "1"})
        self.assertEqual(done.execute({}), {"arguments": "load job.yaml --output json", "x": "1"})

    def test_what_needs_a_person_is_not_retried(self):
        for code in (1, 2, 7, 78):
            with self.assertRaisesRegex(AirflowFailException, f"ended with {code}: "):
                operator(f"exit {code}").execute({})

    def test_the_rest_is_retried(self):
        for code in (5, 75, 3):
            with self.assertRaisesRegex(AirflowException, f"ended with {code}: ") as raised:
                operator(f"exit {code}").execute({})
            self.assertNotIsInstance(raised.exception, (AirflowFailException, AirflowSkipException))

    def test_nothing_to_do_is_skipped(self):
        with self.assertRaises(AirflowSkipException):
            operator("exit 99").execute({})

    def test_a_killed_task_lets_lake_end(self):
        for text, expected in (
            # ends by itself at SIGTERM, with its last commit
            ('trap "echo \'{\\"rows\\": 7}\'; exit 0" TERM; echo ready >&2; while :; do sleep 0.05; done', {"rows": 7}),
            # does not: it is killed after stop_within
            ('trap "" TERM; echo ready >&2; while :; do sleep 0.05; done', "ended with -9"),
        ):
            with self.subTest(expected=expected):
                task = operator(text, stop_within=0.5)
                with self.assertLogs(task.log, "INFO") as logs:

                    def kill():
                        while not any("ready" in line for line in logs.output):
                            time.sleep(0.01)
                        task.on_kill()

                    killer = threading.Thread(target=kill)
                    killer.start()
                    try:
                        got = task.execute({})
                    except AirflowException as e:
                        got = str(e)
                    killer.join()
                if isinstance(expected, dict):
                    self.assertEqual(got, expected)
                else:
                    self.assertIn(expected, got)


if __name__ == "__main__":
    unittest.main()
