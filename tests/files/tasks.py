"""Tasks that open files, on a lane made of the environment: a child process imports it anew."""

import wave

from sidelane import File, Sidelane

lane = Sidelane(settings={"lease_duration": 2.0})


@lane.task
async def on_the_loop(audio: File) -> list[int]:
    async with audio.path() as path, audio.open() as opened:
        with wave.open(str(path)) as tone:
            return [tone.getframerate(), path.stat().st_size, len(await opened.read())]


def _measured(audio: File) -> list[int]:
    with audio.path() as path, audio.open() as opened, wave.open(opened) as tone:
        size = opened.seek(0, 2)
        return [tone.getframerate(), path.stat().st_size, size]


@lane.task
def in_a_thread(audio: File) -> list[int]:
    return _measured(audio)


@lane.task(process=True)
def in_a_process(audio: File) -> list[int]:
    return _measured(audio)
