// SPDX-License-Identifier: MIT

package nstest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// namespaces are clone flags and not calls of unshare in the helper: a Go
// program has several threads from its start, unshare(CLONE_NEWUSER) refuses
// those, and unshare(CLONE_NEWPID) would move only children, not the caller.
func namespaces() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS,
		Pdeathsig:  syscall.SIGKILL, // also when the test binary dies without its cleanups
	}
	if os.Geteuid() != 0 {
		// Mapped to 0, because execve takes the capability to mount from
		// every other user.
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	return attr
}

func mountProc() error {
	// Private first: shared mounts, the default under systemd, would carry
	// the new /proc to the host.
	if err := syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("mount / private: %w", err)
	}
	const flags = syscall.MS_NOSUID | syscall.MS_NODEV | syscall.MS_NOEXEC
	if err := syscall.Mount("proc", "/proc", "proc", flags, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	return nil
}

func requireNamespaces(t testing.TB, freshProc bool) {
	t.Helper()
	SkipEmulated(t, "refuses clone(CLONE_NEWPID)")
	err := tryBare()
	if err == nil && freshProc {
		err = tryProc()
	}
	switch {
	case err == nil:
	case os.Getenv("CI") == "true":
		t.Fatalf("nstest: %v (a failure and not a skip, because CI=true)", err)
	default:
		t.Skipf("nstest: %v", err)
	}
}

// SkipEmulated skips a test in qemu-user, which translates the system calls of a
// program for another processor. why says what it does otherwise than a kernel.
func SkipEmulated(t testing.TB, why string) {
	t.Helper()
	if emulated() {
		t.Skipf("nstest: qemu-user %s", why)
	}
}

// emulated looks at thread-self, because qemu answers for self in the kernel's place.
var emulated = sync.OnceValue(func() bool {
	program, err := os.Readlink("/proc/thread-self/exe")
	return err == nil && strings.HasPrefix(filepath.Base(program), "qemu-")
})

// The answers of the kernel, asked for once a process.
var (
	tryBare = sync.OnceValue(func() error { return try() })
	tryProc = sync.OnceValue(func() error { return try(procVar + "=1") })
)

func try(env ...string) error {
	cmd, err := reexec(context.Background(), probe)
	if err != nil {
		return err
	}
	cmd.Env = append(cmd.Env, env...)
	cmd.SysProcAttr = namespaces()
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		err = fmt.Errorf("%s: %s", exit, strings.TrimSpace(string(out)))
	}
	return fmt.Errorf("no new PID namespace for uid %d: %w%s", os.Geteuid(), err, obstacles())
}

// obstacles lists the settings known to forbid namespaces, because the bare
// EPERM does not tell them apart.
func obstacles() string {
	var b strings.Builder
	for _, o := range []struct{ file, forbids string }{
		{"/proc/sys/user/max_user_namespaces", "0"},
		{"/proc/sys/user/max_pid_namespaces", "0"},
		{"/proc/sys/kernel/unprivileged_userns_clone", "0"},             // Debian ≤ 10
		{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1"}, // Ubuntu ≥ 23.10
	} {
		if value, err := os.ReadFile(o.file); err == nil && strings.TrimSpace(string(value)) == o.forbids {
			fmt.Fprintf(&b, "; %s is %s", o.file, o.forbids)
		}
	}
	if status, err := os.ReadFile("/proc/self/status"); err == nil && strings.Contains(string(status), "\nSeccomp:\t2\n") {
		b.WriteString("; a seccomp filter is active, as in a container")
	}
	return b.String()
}

// TakeDescriptors takes all descriptors that are free, up to RLIMIT_NOFILE, and returns
// them.
func TakeDescriptors() (taken []int) {
	for {
		fd, err := syscall.Dup(0)
		if err != nil {
			return taken
		}
		taken = append(taken, fd)
	}
}

// Descriptors returns two functions: take leaves this process no free descriptor, free
// undoes that, as the end of the test does. They are for tests that run alone.
func Descriptors(t testing.TB) (take, free func()) {
	t.Helper()
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	take = func() { syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Max: was.Max}) }
	free = func() { syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was) }
	t.Cleanup(free)
	return take, free
}
