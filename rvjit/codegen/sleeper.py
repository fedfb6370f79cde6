"""Native code of forked checkpoints: fork a process that sleeps, and shows its memory if asked to.

`SLEEPER` is the structure that is worked on, 64-bit words in that order, and behind it as many
pairs of words, first address and size, as *count* says. The function is

    i64 sleeper_fork(ptr sleeper)   0 with `process` and `link` set, or an error's number

The child has nothing of what lies in those ranges, which are to be other than this code and what
it is to show; a range with the stack, or with the thread's own block, which the kernel writes to,
is left out. So fork has little to copy, and its parent shares, and has to copy when it writes,
nothing else. The child makes system calls and does nothing more: it puts signals back to what the
system does by default (those that were ignored stay so, and SIGINT is blocked), closes all
descriptors but its end of the link, and waits. For each request that it gets, an address and a
size, 64-bit words, it answers with the bytes there. It ends when nobody can ask any more, or when
the process of *parent* has ended.
"""

from __future__ import annotations

from rvjit.codegen.builtin import caller

SLEEPER = (
    "parent",  # a descriptor of the process that forks (pidfd_open)
    "process",  # the child, from the call on,
    "link",  # and a socket to it
    "count",  # of ranges that the child is not to have
)
REQUEST = "<QQ"

# Linux on x86-64: numbers of system calls, and what they are given.
_POLL, _CLOSE, _RT_SIGACTION, _RT_SIGPROCMASK, _MADVISE = 7, 3, 13, 14, 28
_SENDTO, _RECVFROM, _SOCKETPAIR, _CLONE, _EXIT_GROUP, _CLOSE_RANGE = 44, 45, 53, 56, 231, 436
_SIG_SETMASK, _SIGINT, _SIGCHLD, _SIGNALS, _SIGNAL_BYTES = 2, 2, 17, 64, 8
_DONTFORK, _DOFORK = 10, 11
_AF_UNIX, _SOCK_STREAM_CLOEXEC = 1, 1 | 0o2000000
_POLLIN, _POLLOUT = 1, 4
_MSG_WAITALL, _MSG_DONTWAIT_NOSIGNAL = 0x100, 0x4040
_EINTR, _EAGAIN = 4, 11
_NO_DESCRIPTOR = (1 << 32) - 1

_WORDS = ("di", "si", "dx", "10", "8", "9")


def _call(result: str, number: int, *arguments: str | int) -> str:
    """Return IR of a system call whose arguments are i64."""
    registers = ",".join(f"{{r{each}}}" for each in _WORDS[: len(arguments)])
    given = "".join(f", i64 {each}" for each in arguments)
    return (
        f'%{result} = call i64 asm sideeffect "syscall", '
        f'"={{rax}},{{rax}},{registers},~{{rcx}},~{{r11}},~{{memory}}"(i64 {number}{given})'
    )


SLEEPER_IR = f"""
define private void @advise(ptr %sleeper, i1 %hide) noinline nounwind {{
  %here = alloca i64
  %stack = ptrtoint ptr %here to i64
  %thread = call i64 asm "movq %fs:0, $0", "=r"()
  %p.count = getelementptr i64, ptr %sleeper, i64 {SLEEPER.index("count")}
  %count = load i64, ptr %p.count
  %ranges = getelementptr i64, ptr %sleeper, i64 {len(SLEEPER)}
  br label %next
next:
  %i = phi i64 [ 0, %0 ], [ %i1, %done ]
  %more = icmp ult i64 %i, %count
  br i1 %more, label %look, label %end
look:
  %at = shl i64 %i, 1
  %p.start = getelementptr i64, ptr %ranges, i64 %at
  %start = load i64, ptr %p.start
  %p.size = getelementptr i64, ptr %p.start, i64 1
  %size = load i64, ptr %p.size
  %stack.at = sub i64 %stack, %start
  %stack.in = icmp ult i64 %stack.at, %size
  %thread.at = sub i64 %thread, %start
  %thread.in = icmp ult i64 %thread.at, %size
  %needed = or i1 %stack.in, %thread.in
  br i1 %needed, label %done, label %show
show:
  {_call("shown", _MADVISE, "%start", "%size", _DOFORK)}
  br i1 %hide, label %can, label %done
can:  ; what cannot be shown again is not hidden
  %able = icmp eq i64 %shown, 0
  br i1 %able, label %hidden, label %leave
hidden:
  {_call("r", _MADVISE, "%start", "%size", _DONTFORK)}
  br label %done
leave:
  store i64 0, ptr %p.size
  br label %done
done:
  %i1 = add i64 %i, 1
  br label %next
end:
  ret void
}}

define private void @sleep(i64 %link, i64 %parent) noinline nounwind noreturn {{
  %old = alloca [4 x i64]
  %default = alloca [4 x i64]
  %blocked = alloca i64
  %polled = alloca [2 x i64]
  %request = alloca [2 x i64]
  %old.i = ptrtoint ptr %old to i64
  %default.i = ptrtoint ptr %default to i64
  %blocked.i = ptrtoint ptr %blocked to i64
  %polled.i = ptrtoint ptr %polled to i64
  %request.i = ptrtoint ptr %request to i64
  store [4 x i64] zeroinitializer, ptr %default
  br label %signal
signal:
  %n = phi i64 [ 1, %0 ], [ %n1, %signal.next ]
  store i64 0, ptr %old
  {_call("r.old", _RT_SIGACTION, "%n", 0, "%old.i", _SIGNAL_BYTES)}
  %handler = load i64, ptr %old
  %handled = icmp ugt i64 %handler, 1
  br i1 %handled, label %signal.default, label %signal.next
signal.default:
  {_call("r.default", _RT_SIGACTION, "%n", "%default.i", 0, _SIGNAL_BYTES)}
  br label %signal.next
signal.next:
  %n1 = add i64 %n, 1
  %n.more = icmp ule i64 %n1, {_SIGNALS}
  br i1 %n.more, label %signal, label %descriptors
descriptors:
  store i64 {1 << (_SIGINT - 1)}, ptr %blocked
  {_call("r.mask", _RT_SIGPROCMASK, _SIG_SETMASK, "%blocked.i", 0, _SIGNAL_BYTES)}
  %link.less = icmp ult i64 %link, %parent
  %low = select i1 %link.less, i64 %link, i64 %parent
  %high = select i1 %link.less, i64 %parent, i64 %link
  %low.is.0 = icmp eq i64 %low, 0
  %first = zext i1 %low.is.0 to i64  ; from 1 to 0, which is none
  %before = sub i64 %low, 1
  %last = select i1 %low.is.0, i64 0, i64 %before
  {_call("r.1", _CLOSE_RANGE, "%first", "%last", 0)}
  %behind = add i64 %low, 1
  %up = sub i64 %high, 1
  {_call("r.2", _CLOSE_RANGE, "%behind", "%up", 0)}
  %above = add i64 %high, 1
  {_call("r.3", _CLOSE_RANGE, "%above", _NO_DESCRIPTOR, 0)}
  %parent.polled = or i64 %parent, {_POLLIN << 32}
  %p.parent = getelementptr i64, ptr %polled, i64 1
  br label %wait
wait:
  %at = phi i64 [ 0, %descriptors ], [ %at, %interrupted ], [ %at, %again ],
                [ %at1, %sent ], [ %asked.at, %asked ]
  %left = phi i64 [ 0, %descriptors ], [ %left, %interrupted ], [ %left, %again ],
                  [ %left1, %sent ], [ %asked.size, %asked ]
  %idle = icmp eq i64 %left, 0
  %events = select i1 %idle, i64 {_POLLIN << 32}, i64 {_POLLOUT << 32}
  %link.polled = or i64 %link, %events
  store i64 %link.polled, ptr %polled
  store i64 %parent.polled, ptr %p.parent
  {_call("ready", _POLL, "%polled.i", 2, -1)}
  %failed = icmp slt i64 %ready, 0
  br i1 %failed, label %interrupted, label %look
interrupted:
  %only = icmp eq i64 %ready, {-_EINTR}
  br i1 %only, label %wait, label %end
look:
  %parent.now = load i64, ptr %p.parent
  %parent.lives = icmp eq i64 %parent.now, %parent.polled
  br i1 %parent.lives, label %serve, label %end
serve:
  br i1 %idle, label %ask, label %send
ask:
  {_call("got", _RECVFROM, "%link", "%request.i", 16, _MSG_WAITALL, 0, 0)}
  %whole = icmp eq i64 %got, 16
  br i1 %whole, label %asked, label %end
asked:
  %asked.at = load i64, ptr %request
  %p.size = getelementptr i64, ptr %request, i64 1
  %asked.size = load i64, ptr %p.size
  br label %wait
send:
  {_call("count", _SENDTO, "%link", "%at", "%left", _MSG_DONTWAIT_NOSIGNAL, 0, 0)}
  %some = icmp sgt i64 %count, 0
  br i1 %some, label %sent, label %again
sent:
  %at1 = add i64 %at, %count
  %left1 = sub i64 %left, %count
  br label %wait
again:
  %full = icmp eq i64 %count, {-_EAGAIN}
  br i1 %full, label %wait, label %end
end:
  {_call("r.end", _EXIT_GROUP, 0)}
  unreachable
}}

define i64 @sleeper_fork(ptr %sleeper) nounwind {{
  %ends = alloca [2 x i32]
  %all = alloca i64
  %mask = alloca i64
  %ends.i = ptrtoint ptr %ends to i64
  %all.i = ptrtoint ptr %all to i64
  %mask.i = ptrtoint ptr %mask to i64
  %p.parent = getelementptr i64, ptr %sleeper, i64 {SLEEPER.index("parent")}
  %parent = load i64, ptr %p.parent
  {_call("can", _CLOSE_RANGE, _NO_DESCRIPTOR, _NO_DESCRIPTOR, 0)}
  %cannot = icmp slt i64 %can, 0
  br i1 %cannot, label %no, label %link
no:
  %can.error = sub i64 0, %can
  ret i64 %can.error
link:
  {_call("linked", _SOCKETPAIR, _AF_UNIX, _SOCK_STREAM_CLOEXEC, 0, "%ends.i")}
  %unlinked = icmp slt i64 %linked, 0
  br i1 %unlinked, label %none, label %fork
none:
  %linked.error = sub i64 0, %linked
  ret i64 %linked.error
fork:
  %ours32 = load i32, ptr %ends
  %ours = zext i32 %ours32 to i64
  %p.theirs = getelementptr i32, ptr %ends, i64 1
  %theirs32 = load i32, ptr %p.theirs
  %theirs = zext i32 %theirs32 to i64
  store i64 -1, ptr %all
  {_call("r.block", _RT_SIGPROCMASK, _SIG_SETMASK, "%all.i", "%mask.i", _SIGNAL_BYTES)}
  call void @advise(ptr %sleeper, i1 true)
  {_call("process", _CLONE, _SIGCHLD, 0, 0, 0, 0)}
  %child = icmp eq i64 %process, 0
  br i1 %child, label %sleep, label %go.on
sleep:
  call void @sleep(i64 %theirs, i64 %parent)
  unreachable
go.on:
  call void @advise(ptr %sleeper, i1 false)
  {_call("r.set", _RT_SIGPROCMASK, _SIG_SETMASK, "%mask.i", 0, _SIGNAL_BYTES)}
  {_call("r.close", _CLOSE, "%theirs")}
  %forked = icmp sgt i64 %process, 0
  br i1 %forked, label %yes, label %failed
failed:
  {_call("r.ours", _CLOSE, "%ours")}
  %error = sub i64 0, %process
  ret i64 %error
yes:
  %p.process = getelementptr i64, ptr %sleeper, i64 {SLEEPER.index("process")}
  store i64 %process, ptr %p.process
  %p.link = getelementptr i64, ptr %sleeper, i64 {SLEEPER.index("link")}
  store i64 %ours, ptr %p.link
  ret i64 0
}}
{caller("sleeper_fork")}
"""
