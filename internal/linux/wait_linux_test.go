// SPDX-License-Identifier: MIT

package linux

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Where the kernel puts the fields of siginfo_t, shown by a child that ends in a
// known way. .ci/run runs it for other word sizes and byte orders, too.
func TestSiginfo(t *testing.T) {
	if got := unsafe.Sizeof(unix.Siginfo{}); got != 128 {
		t.Errorf("siginfo has %d bytes, want 128", got)
	}
	wantOffset := uintptr(16)
	if unsafe.Sizeof(uintptr(0)) == 4 {
		wantOffset = 12
	}
	if childOffset != wantOffset {
		t.Errorf("the fields of a child are at %d, want %d", childOffset, wantOffset)
	}

	cmd := exec.Command("sh", "-c", "exit 2")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	want := Child{PID: pid, Code: 1, Status: 2}
	if got, err := Waitid(unix.P_PID, pid, unix.WEXITED|unix.WNOWAIT); got != want || err != nil {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	if got := Peek(unix.P_PID, pid); got != pid || !want.Exited() {
		t.Errorf("Peek at a zombie: got %d, want %d", got, pid)
	}
	if got, err := Waitid(unix.P_PID, pid, unix.WEXITED|unix.WNOHANG); got != want || err != nil {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	if got := Peek(unix.P_PID, pid); got != 0 {
		t.Errorf("Peek after the wait: got %d, want 0", got)
	}
	cmd.Process.Release()
}

func TestKilled(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	if got := Peek(unix.P_PID, pid); got != 0 {
		t.Errorf("Peek at a child that lives: got %d, want 0", got)
	}
	cmd.Process.Kill()
	got, err := Waitid(unix.P_PID, pid, unix.WEXITED|unix.WNOWAIT)
	if want := (Child{PID: pid, Code: 2, Status: int(unix.SIGKILL)}); got != want || err != nil || got.Exited() {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	cmd.Wait()
}

func TestProbePidfd(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	open := func(pid int) int {
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			t.Skip(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		return fd
	}
	child, self := open(cmd.Process.Pid), open(os.Getpid())
	for _, c := range []struct {
		what string
		fd   int
		want unix.Errno
	}{{"child", child, 0}, {"other process", self, unix.ECHILD}, {"pipe or file", 0, unix.EBADF}, {"closed", 1 << 20, unix.EBADF}} {
		if got := ProbePidfd(c.fd); got != c.want {
			t.Errorf("%s: got %v, want %v", c.what, got, c.want)
		}
	}
	cmd.Process.Kill()
	cmd.Wait()
}

// The shell stops itself twice, is woken each time, and ends.
func TestAwaitExit(t *testing.T) {
	cmd := exec.Command("sh", "-c", "kill -STOP $$; kill -TSTP $$; exit 7")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // SIGTSTP does nothing in an orphaned group
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var got []syscall.Signal
	status, ended := AwaitExit(cmd.Process.Pid, func(sig syscall.Signal) {
		got = append(got, sig)
		cmd.Process.Signal(syscall.SIGCONT)
	})
	if status != 7 || !ended {
		t.Errorf("status %d, ended: %v, want 7, true", status, ended)
	}
	if want := []syscall.Signal{syscall.SIGSTOP, syscall.SIGTSTP}; !slices.Equal(got, want) {
		t.Errorf("stopped by %v, want %v", got, want)
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 7 {
		t.Errorf("Wait: %v, want exit status 7", err)
	}
	if status, ended := AwaitExit(cmd.Process.Pid, nil); status != 1 || !ended {
		t.Errorf("no such child: status %d, ended: %v, want 1, true", status, ended)
	}
}

// What is no terminal has no foreground.
func TestForegroundOfFile(t *testing.T) {
	file, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	if pgrp, err := Foreground(file); err == nil {
		t.Errorf("/dev/null: got %d, want an error", pgrp)
	}
	if err := SetForeground(file, os.Getpid()); err == nil {
		t.Error("SetForeground of /dev/null: got no error")
	}
	file.Close()
	if _, err := Foreground(file); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("closed: got %v, want an error", err)
	}
}
