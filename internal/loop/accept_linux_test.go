// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// childCommand does what the test asks for in a line: deny <system call> <first argument,
// or -1 for any> <errno> has a system call fail from now on.
func childCommand(line string) {
	var call, argument, errno int
	if _, err := fmt.Sscanf(line, "deny %d %d %d", &call, &argument, &errno); err != nil {
		panic(err)
	}
	deny(call, argument, unix.Errno(errno))
}

// deny has a system call of this process fail with errno from now on, for good.
func deny(call, argument int, errno unix.Errno) {
	const number, firstArgument = 0, 16 // Places in struct seccomp_data, seccomp(2).
	fail := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(errno)}
	allow := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	unless := func(value, skip int) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(value), Jf: uint8(skip)}
	}
	filter := []unix.SockFilter{load(number), unless(call, 1), fail, allow}
	if argument >= 0 {
		filter = []unix.SockFilter{load(number), unless(call, 3), load(firstArgument), unless(argument, 1), fail, allow}
	}
	runtime.LockOSThread() // For who may install it; it holds for all threads.
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		panic(err)
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC,
		uintptr(unsafe.Pointer(&program))); errno != 0 {
		panic(errno)
	}
}

// acceptFailing is the line of the log.
const acceptFailing = "accepting connections fails"

// wantServed checks that conns are answered.
func wantServed(t *testing.T, conns []*raw) {
	t.Helper()
	for _, c := range conns {
		c.send(command(`{"op":"ping"}`))
		c.want("pong")
	}
}

// Without admission the descriptors run out. Those who are connected stay, the others wait,
// and are served when there are descriptors again.
func TestOutOfDescriptors(t *testing.T) {
	takeBaseline(t)
	ch := spawn(t, 400, 1_000_000)
	var in []*raw
	for range 30 { // Some fall to either loop.
		in = append(in, dialRaw(t, ch.addr).upgrade("?topics=A"))
	}
	asked, silent := storm(t, ch.addr, 1500)
	until(t, func() bool { return strings.Contains(ch.said(), acceptFailing) }, "accept to fail")
	wantServed(t, in)
	if said := ch.said(); !strings.Contains(said, "too many open files") || !strings.Contains(said, "LimitNOFILE=") {
		t.Errorf("the server said:\n%s", said)
	}
	closeAll(asked, silent)
	var fresh []*raw
	for range 30 {
		fresh = append(fresh, dialRaw(t, ch.addr).upgrade("?topics=A"))
	}
	until(t, func() bool { return strings.Contains(ch.said(), "connections are accepted again") }, "the server to say so")
	wantServed(t, fresh)
	wantServed(t, in)
	closeAll(fresh, in)
	if out := ch.end(); strings.Contains(out, "failed:") || !strings.Contains(out, "conns 0,") {
		t.Errorf("the server said:\n%s", out)
	}
	wantBaseline(t)
}

// Whatever it is that accept fails with, the conns live, the log has one line, and a loop
// tries again without spinning.
func TestFailedAccept(t *testing.T) {
	takeBaseline(t)
	const loops, attempts = 2, 8
	group(t, func(t *testing.T) {
		for _, errno := range []unix.Errno{unix.ENFILE, unix.ENOMEM, unix.EPERM, unix.ENETDOWN} {
			t.Run(unix.ErrnoName(errno), func(t *testing.T) {
				t.Parallel()
				ch := spawn(t, 1000, 500)
				var in []*raw
				for range 20 {
					in = append(in, dialRaw(t, ch.addr).upgrade("?topics=A"))
				}
				begin := time.Now()
				ch.do("deny %d -1 %d", unix.SYS_ACCEPT4, errno)
				for range 20 { // Some fall to either loop.
					c, err := connect(ch.addr, patience)
					if err != nil {
						t.Fatal(err)
					}
					defer c.close()
				}
				failures := 0
				until(t, func() bool {
					_, failures = ch.state()
					return failures >= attempts
				}, "%d attempts", attempts)
				if most := loops * (1 + int(time.Since(begin)/acceptPause)); failures > most {
					t.Errorf("%d attempts in %v, want at most %d", failures, time.Since(begin), most)
				}
				wantServed(t, in)
				closeAll(in)
				if out := ch.end(); strings.Count(out, acceptFailing) != 1 || strings.Contains(out, "failed:") {
					t.Errorf("the server said:\n%s", out)
				}
			})
		}
	})
	wantBaseline(t)
}
