"""Start of a program under supervisord: reads its arguments, environment and folder from a JSON file, and becomes the program.

`python -I -S launch.py run/chat.json` imports nothing of Sidelane. Configuration values of supervisord cannot contain every
text: they have no line ends, and quotes and comment signs have no escapes. JSON has them all.
"""

import json
import os
import sys

EXIT_CONFIGURATION = 3  # the value of `Exit.CONFIGURATION`


def main() -> None:
    """Become the program that the file describes."""
    with open(sys.argv[1], encoding="utf-8") as file:  # noqa: PTH123 - pathlib takes longer to import than this program runs
        program = json.load(file)
    try:
        os.chdir(program["directory"])
        if program["output"]:
            output = os.open(program["output"], os.O_WRONLY)
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.close(output)
        arguments = program["arguments"]
        os.execvpe(arguments[0], arguments, {**os.environ, **program["environment"]})  # noqa: S606 - the program's own
    except OSError as error:
        print(f"{program['name']} cannot be started: {error.strerror}: {error.filename}", file=sys.stderr)
        sys.exit(EXIT_CONFIGURATION)


if __name__ == "__main__":
    main()
