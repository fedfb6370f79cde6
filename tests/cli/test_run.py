"""`rvjit run` in this process: output, reports, limits, options, and the table of statuses."""

from __future__ import annotations

import gc
import hashlib
import json
from pathlib import Path

import pytest

import rvjit
from rvjit import engines
from rvjit.cli import main
from rvjit.cli.status import MEANINGS, OF_STOP, Status, of_error, of_result
from rvjit.machine.stop import Stop

EXPECTED = Path(__file__).parents[1] / "examples" / "expected"
ENGINES = ("interp", "jit")


def report(path: Path, *arguments: str) -> tuple[int, dict]:
    """Run with --json; return the exit status and the report."""
    status = main(["run", "--json", str(path), *arguments])
    return status, json.loads(path.read_text())


@pytest.mark.parametrize("engine", ENGINES)
def test_an_example_prints_what_it_should(engine, capfdbinary):
    assert main(["run", "--engine", engine, "example:mandelbrot", "10"]) == 0
    out, err = capfdbinary.readouterr()
    assert out == (EXPECTED / "mandelbrot-10.txt").read_bytes()
    assert err == b""


def test_the_output_is_also_right_without_a_descriptor(capsys):
    assert main(["run", "--engine", "interp", "example:hello"]) == 0
    assert capsys.readouterr().out == (EXPECTED / "hello-1.txt").read_text()


def test_statistics_say_cycles_time_speed_and_memory(capfd):
    assert main(["run", "--stats", "example:fib", "10"]) == 0
    err = capfd.readouterr().err
    assert err.startswith("rvjit: exit 0: ")
    for word in (" cycles in ", " s, ", "MIPS (tiered)", "regions", "exact runs", "peak memory"):
        assert word in err


def test_the_json_report_has_everything(tmp_path, capfd):
    status, found = report(tmp_path / "out.json", "--digest", "example:sha256", "1")
    out = capfd.readouterr().out.encode()
    assert status == 0
    assert out == (EXPECTED / "sha256-1.txt").read_bytes()
    assert found.keys() == {
        *("stop", "exit_code", "cycles", "pc", "registers", "fault", "engine", "seconds", "mips"),
        *("cycles_per_second", "program", "program_sha256", "profile", "isa", "vm_version"),
        *("syscalls", "memory_size", "stdout_bytes", "engine_statistics", "version", "digest"),
    }
    assert (found["stop"], found["exit_code"], found["fault"]) == ("exit", 0, None)
    assert (found["program"], found["profile"], found["syscalls"]) == (
        *("example:sha256", "linux", "linux"),
    )
    assert (found["engine"], found["version"]) == ("tiered", rvjit.__version__)
    assert found["memory_size"] == 64 << 20
    assert found["stdout_bytes"] == len(out)
    assert int(found["pc"], 16) > 0
    assert len(found["registers"]) == 32
    assert all(register.startswith("0x") for register in found["registers"])
    assert found["mips"] > 0
    assert found["digest"].keys() == {"registers", "memory", "stdout"}
    assert found["digest"]["stdout"] == hashlib.sha256(out).hexdigest()
    words = b"".join(int(word, 16).to_bytes(8, "little") for word in found["registers"])
    assert found["digest"]["registers"] == hashlib.sha256(words).hexdigest()


def test_the_memory_digest_covers_the_whole_window(tmp_path, capfd):
    size = 3 << 20
    _, found = report(tmp_path / "out.json", "--digest", "--memory", str(size), "example:hello")
    vm = rvjit.VM.from_elf(
        *(rvjit.example("hello"),), name="example:hello", memory_size=size, stdout=lambda _: None
    )
    vm.run()
    whole = vm.memory.read(vm.memory.base, size)
    assert found["digest"]["memory"] == hashlib.sha256(whole).hexdigest()


@pytest.mark.parametrize("example", ["quicksort", "sieve"])
@pytest.mark.parametrize("limit", [None, 5001])
def test_engines_give_equal_reports(example, limit, tmp_path, capfd):
    found = []
    for engine in ENGINES:
        options = ["--engine", engine, "--digest", *(("--cycles", str(limit)) if limit else ())]
        size = str(next(e.small_size for e in rvjit.examples.EXAMPLES if e.name == example))
        status, one = report(tmp_path / engine, *options, f"example:{example}", size)
        for varying in ("engine", "seconds", "mips", "cycles_per_second", "engine_statistics"):
            del one[varying]
        found.append((status, one))
    assert found[0] == found[1]
    assert found[0][0] == (Status.CYCLE_LIMIT if limit else 0)


@pytest.mark.parametrize("engine", ENGINES)
def test_ckb_rules_and_prices(engine, tmp_path, capfd):
    options = ["--profile", "ckb", "--isa", "imcba", "--syscalls", "linux", "--engine", engine]
    status, found = report(tmp_path / "out.json", *options, "--digest", "example:fib", "fib", "10")
    assert status == 0
    assert capfd.readouterr().out == (EXPECTED / "fib-10.txt").read_text()
    assert (found["profile"], found["syscalls"], found["vm_version"]) == ("ckb", "linux", 2)
    assert found["isa"] == "rv64imac_zba_zbb_zbc_zbs"
    assert (found["memory_size"], found["mips"]) == (4 << 20, None)
    assert (found["ckb_error"], found["ckb_pc"]) == (None, None)
    status, again = report(tmp_path / "linux.json", "example:fib", "10")
    assert found["cycles"] > again["cycles"]  # CKB's prices are above one cycle


def test_a_ckb_fault_names_ckbs_error(tmp_path, guest, capfd):
    options = ["--profile", "ckb", "--isa", "imcba", "--syscalls", "linux"]
    status, found = report(tmp_path / "out.json", *options, guest("wild"), "wild", "jump-data")
    assert status == Status.FAULT
    assert found["ckb_error"] == "MemWriteOnExecutablePage"
    assert found["ckb_pc"] == found["pc"] == found["fault"]["pc"]
    assert "CKB-VM reports MemWriteOnExecutablePage" in capfd.readouterr().err


def test_a_negative_exit_code_of_ckb_is_taken_modulo_256():
    result = rvjit.RunResult(Stop.EXIT, cycles=1, pc=0, exit_code=-2)
    assert of_result(result) == 254


@pytest.mark.parametrize("engine", ENGINES)
def test_a_fault_is_reported_with_its_place(engine, tmp_path, guest, capfd):
    arguments = ["--engine", engine, guest("wild"), "store-code"]
    status, found = report(tmp_path / "out.json", *arguments)
    assert status == Status.FAULT
    assert (found["stop"], found["exit_code"]) == ("fault", None)
    fault = found["fault"]
    assert (fault["kind"], fault["access"]) == ("permission_denied", "store")
    assert fault["pc"] == found["pc"]
    assert fault["word"] is None
    assert fault["address"].startswith("0x")
    err = capfd.readouterr().err
    assert "rvjit: store of " in err
    assert f"#0 {found['pc']} main+0x" in err
    assert "_start" in err


def test_illegal_instructions_give_their_word(tmp_path, guest, capfd):
    _, found = report(tmp_path / "out.json", guest("wild"), "illegal32")
    assert (found["fault"]["kind"], found["fault"]["word"]) == ("illegal_instruction", "0xffffffff")


def test_a_program_that_aborts_is_a_fault(guest, capfd):
    assert main(["run", "--engine", "interp", guest("abort_musl")]) == Status.FAULT
    assert "ended by signal 6" in capfd.readouterr().err


@pytest.mark.parametrize("engine", ENGINES)
def test_a_cycle_limit_stops_exactly(engine, tmp_path, guest, capfd):
    arguments = ["--cycles", "100_000", "--engine", engine, guest("forever")]
    status, found = report(tmp_path / "out.json", *arguments)
    assert status == Status.CYCLE_LIMIT
    assert (found["stop"], found["cycles"]) == ("cycle_limit", 100_000)
    assert "cycle limit 100000 reached at pc 0x" in capfd.readouterr().err


@pytest.mark.parametrize("engine", ENGINES)
def test_a_timeout_stops_and_says_where(engine, tmp_path, guest, capfd):
    arguments = ["--timeout", "0.2", "--engine", engine, guest("forever")]
    status, found = report(tmp_path / "out.json", *arguments)
    assert status == Status.TIMEOUT
    assert found["stop"] == "timeout"
    assert found["seconds"] >= 0.15
    err = capfd.readouterr().err
    assert f"timeout of 0.2 s at pc {found['pc']} _start+0x" in err
    assert f"after {found['cycles']} cycles" in err


def test_digests_go_to_stderr_without_a_report(capfd):
    assert main(["run", "--digest", "example:hello"]) == 0
    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == "rvjit: SHA-256"
    assert [line.split()[0] for line in lines[1:]] == ["registers", "memory", "stdout"]
    assert all(len(line.split()[1]) == 64 for line in lines[1:])


def test_a_report_on_stdout_follows_the_guests_output(capfd):
    assert main(["run", "--json", "-", "example:hello"]) == 0
    out = capfd.readouterr().out
    text = (EXPECTED / "hello-1.txt").read_text()
    assert out.startswith(text)
    assert json.loads(out.removeprefix(text))["stop"] == "exit"


def test_everything_after_prog_is_the_guests(guest, capfd):
    path = guest("musl_hello")
    options = ["--engine", "interp"]
    assert main(["run", *options, path, "--", "--json", "-h", "--cycles", "x=1", "--"]) == 0
    out = capfd.readouterr().out
    for argument in ("--", "--json", "-h", "--cycles", "x=1"):
        assert argument in out.split()
    assert main(["run", *options, "--", path, "-x"]) == 0
    assert "-x" in capfd.readouterr().out.split()


def test_environment_and_arguments_reach_the_guest(guest, capfd):
    arguments = ["--env", "A=1", "--env", "B=x=y", guest("echo"), "one", "two words"]
    assert main(["run", *arguments]) == 0
    out = capfd.readouterr().out
    for text in ("one", "two words", "A=1", "B=x=y"):
        assert text in out


def test_directories_are_read_only_unless_said(guest, tmp_path, capfd):
    (tmp_path / "notes.txt").write_text("first line\nsecond line\n")
    command = [guest("musl_stdio"), "/data/notes.txt"]
    arguments = ["--engine", "interp", "--dir", f"{tmp_path}:/data", *command]
    assert main(["run", *arguments]) == 3
    seen = capfd.readouterr().out
    main(["run", "--engine", "interp", *command])
    assert seen != capfd.readouterr().out  # without the directory there is no file


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4M", 4 << 20),
        ("4MiB", 4 << 20),
        ("4mb", 4 << 20),
        ("1G", 1 << 30),
        ("512k", 512 << 10),
        ("0x400000", 4 << 20),
        ("4194304", 4 << 20),
        ("4_194_304", 4 << 20),
    ],
)
def test_sizes(text, size, tmp_path, capfd):
    _, found = report(tmp_path / "out.json", "--memory", text, "example:hello")
    assert found["memory_size"] == size


def test_progress_changes_no_result(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("rvjit.cli.progress.Lines.interval", 0.02)
    reports = []
    for options in ([], ["--progress"]):
        _, found = report(tmp_path / "o.json", *options, "--digest", "example:fib", "34")
        reports.append((found["cycles"], found["pc"], found["registers"], found["digest"]))
    assert reports[0] == reports[1]
    assert "cycles, " in capfd.readouterr().err


def test_progress_says_how_much_of_the_limit_is_used(guest, capfd, monkeypatch):
    monkeypatch.setattr("rvjit.cli.progress.Lines.interval", 0.1)
    limit = str(1 << 60)
    arguments = ["--progress", "--timeout", "0.5", "--cycles", limit, guest("forever")]
    assert main(["run", *arguments]) == Status.TIMEOUT
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) >= 3
    assert all("MIPS" in line and line.endswith(", 0 %") for line in lines[:-1])


# Mistakes.


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["run"], Status.USAGE, ["PROG is missing"]),
        (["run", "--engine", "warp", "x"], Status.USAGE, ["'warp'", "interp", "jit", "lockstep"]),
        (["run", "--profile", "bsd", "x"], Status.USAGE, ["'bsd'", "linux", "ckb"]),
        (["run", "--syscalls", "bsd", "x"], Status.USAGE, ["'bsd'", "linux", "ckb"]),
        (["run", "--isa", "imq", "x"], Status.USAGE, ["'imq'", "zba"]),
        (["run", "--profile", "ckb", "--vm-version", "7", "x"], Status.USAGE, ["7", "1 and 2"]),
        (["run", "--vm-version", "2", "x"], Status.USAGE, ["--vm-version", "linux"]),
        (["run", "--profile", "ckb", "--env", "A=1", "x"], Status.USAGE, ["--env", "ckb"]),
        (["run", "--profile", "ckb", "--dir", "/:/", "x"], Status.USAGE, ["--dir", "ckb"]),
        (["run", "--profile", "ckb", "--seed", "0", "x"], Status.USAGE, ["--seed", "ckb"]),
        (["run", "--profile", "ckb", "--tty", "x"], Status.USAGE, ["--tty", "ckb"]),
        (["run", "--syscalls", "ckb", "--real-time", "x"], Status.USAGE, ["--real-time", "ckb"]),
        (["run", "--profile", "ckb", "--stack-size", "1M", "x"], Status.USAGE, ["--stack-size"]),
        (
            ["run", "--stack-size", "64M", "example:hello"],
            *(Status.USAGE, ["stack of 0x4000000 bytes in 0x4000000 bytes", "0x3ffe000"]),
        ),
        (["run", "--stack-size", "0", "example:hello"], Status.USAGE, ["0x0"]),
        (["run", "--memory", "12Q", "x"], Status.USAGE, ["--memory", "'12Q'", "64MiB"]),
        (["run", "--memory", "0", "x"], Status.USAGE, ["0x0", "4096"]),
        (["run", "--memory", "5000", "x"], Status.USAGE, ["0x1388", "4096"]),
        (["run", "--memory", "1T", "x"], Status.USAGE, ["0x10000000000"]),
        (["run", "--cycles", "-1", "x"], Status.USAGE, ["--cycles", "'-1'"]),
        (["run", "--cycles", "many", "x"], Status.USAGE, ["--cycles", "'many'"]),
        (["run", "--cycles", str(1 << 63), "example:hello"], Status.USAGE, ["cycle limit"]),
        (["run", "--timeout", "nan", "x"], Status.USAGE, ["--timeout", "'nan'"]),
        (["run", "--env", "A", "x"], Status.USAGE, ["--env", "'A'", "KEY=VALUE"]),
        (["run", "--dir", "here", "x"], Status.USAGE, ["--dir", "'here'", "HOST:GUEST"]),
        (["run", "--dir", "/tmp:data", "x"], Status.USAGE, ["'/tmp:data'", "beginning with /"]),
        (["run", "--dir", "/no/such:/d", "example:hello"], Status.USAGE, ["/no/such"]),
        (["run", "--wrong", "x"], Status.USAGE, ["--wrong"]),
        (["run", "/no/such/file"], Status.LOAD, ["/no/such/file", "No such file"]),
        (["run", "/"], Status.LOAD, ["cannot read /", "directory"]),
        (["run", __file__], Status.LOAD, [__file__, "not an ELF file"]),
        (["run", "example:mandlebrot"], Status.LOAD, ["did you mean 'mandelbrot'?", "sieve"]),
        (["run", "example:"], Status.LOAD, ["mandelbrot"]),
        (["run", "sieve"], Status.LOAD, ["example:sieve"]),
        (["run", "--json", "/no/such/r.json", "example:hello"], Status.HOST, ["/no/such/r.json"]),
        (
            ["rum"],
            Status.USAGE,
            ["'rum'", "run, resume, snapshot, ckb, disasm, info, examples, cache"],
        ),
    ],
)
def test_a_mistake_is_one_clear_line(arguments, status, words, capfd):
    assert main(arguments) == status
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("rvjit: error: ")
    assert err.count("\n") == 1
    for word in words:
        assert word in err


@pytest.mark.parametrize(
    ("error", "status", "start"),
    [
        (rvjit.EngineUnavailable("jit: not here"), Status.HOST, "rvjit: error: jit: not here"),
        (MemoryError(), Status.HOST, "rvjit: error: MemoryError"),
        (ImportError("No module named 'llvmlite'"), Status.HOST, "rvjit: error: No module"),
        (
            rvjit.EngineMismatch("x5", 1, 2, 0x10, 7),
            *(Status.INTERNAL, "rvjit: internal error: engines differ"),
        ),
        (KeyError("bug"), Status.INTERNAL, "rvjit: internal error: KeyError: 'bug' at "),
    ],
)
def test_what_goes_wrong_inside_has_a_status_and_no_traceback(
    error, status, start, monkeypatch, capfd
):
    def fail(name, machine):
        raise error

    monkeypatch.setattr(engines, "make", fail)
    assert main(["run", "example:hello"]) == status
    err = capfd.readouterr().err
    assert err.startswith(start)
    assert err.count("\n") == 1


def test_every_stop_that_ends_a_run_has_a_status_of_our_own():
    engine_only = {Stop.EXIT, Stop.BREAKPOINT, Stop.STEP, Stop.SYSCALL}
    assert OF_STOP.keys() == set(Stop) - engine_only
    assert MEANINGS.keys() == {each for name, each in vars(Status).items() if name.isupper()}
    assert all(120 <= status <= 127 or status == 130 for status in MEANINGS)
    assert of_error(rvjit.ElfError("e_type", 1, "no")) == Status.LOAD


def test_help_shows_the_statuses(capfd):
    assert main(["run", "--help"]) == 0
    out = capfd.readouterr().out
    for status, meaning in MEANINGS.items():
        assert f"{status}  {meaning}" in out
    assert main(["--help"]) == 0
    assert "disasm" in capfd.readouterr().out
    assert main([]) == Status.USAGE
    assert main(["--version"]) == 0
    assert rvjit.__version__ in capfd.readouterr().out


def test_garbage_is_collected_while_guests_run(monkeypatch):
    """And what an embedding program had is frozen only if it had put collection off."""
    seen = []
    right = rvjit.VM.run

    def look(vm, **options):
        seen.append((gc.isenabled(), gc.get_freeze_count() > 0))
        return right(vm, **options)

    monkeypatch.setattr(rvjit.VM, "run", look)
    gc.unfreeze()
    assert main(["run", "--quiet", "example:hello"]) == 0
    gc.disable()
    try:
        assert main(["run", "--quiet", "example:hello"]) == 0
    finally:
        gc.enable()
        gc.unfreeze()
    assert seen == [(True, False), (True, True)]
