// SPDX-License-Identifier: MIT

package pid1_test

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/entrypoint-go/entrypoint/internal/nstest"
	"github.com/entrypoint-go/entrypoint/pid1"
)

func init() {
	helpers["exec-signals"] = execSignals
	helpers["exec-failed"] = execFailed
	helpers["exec-profiled"] = execProfiled
	helpers["exec-nobody"] = execNobody
	helpers["exec-noexec"] = execNoexec
}

// jobSignals are those whose being ignored survives the start of Go's runtime.
var jobSignals = []syscall.Signal{
	syscall.SIGHUP, syscall.SIGINT, syscall.SIGCONT, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU,
}

// execSignals changes every disposition that os/signal can change.
func execSignals() int {
	for sig := syscall.Signal(1); sig < 65; sig++ {
		if sig%2 == 0 {
			signal.Ignore(sig)
		} else {
			signal.Notify(make(chan os.Signal, 1), sig)
		}
	}
	for _, sig := range jobSignals {
		signal.Notify(make(chan os.Signal, 1), sig)
	}
	fmt.Println(pid1.Exec("cat", "/proc/self/status"))
	return 1
}

func TestExecSignals(t *testing.T) {
	t.Parallel()
	tests := []struct {
		setup       string
		ignored     []syscall.Signal
		whileCaught string
	}{
		{setup: ":"},
		{setup: "trap '' HUP INT CONT TSTP TTIN TTOU", ignored: jobSignals},
		{setup: "trap '' TTOU", ignored: []syscall.Signal{syscall.SIGTTOU}},
		{setup: "trap '' HUP PIPE TERM USR1 URG SEGV", ignored: []syscall.Signal{syscall.SIGHUP}},
	}
	for _, tt := range tests {
		cmd := nstest.Child(t, "exec-signals")
		viaShell(t, cmd, tt.setup)
		out, err := cmd.CombinedOutput()
		if got, want := statusMask(t, out, "SigIgn"), maskOf(tt.ignored...); err != nil || got != want {
			t.Errorf("%s: ignored: got %#x, want %#x (%v)", tt.setup, got, want, err)
		}
		if got := statusMask(t, out, "SigBlk"); got != 0 {
			t.Errorf("%s: blocked: got %#x, want none", tt.setup, got)
		}
	}
}

func TestExecMask(t *testing.T) {
	t.Parallel()
	env := []string{"env", "--block-signal=USR1,USR2,TSTP,WINCH,TERM,SEGV"} // GNU coreutils ≥ 8.31
	if err := exec.Command(env[0], append(env[1:], "true")...).Run(); err != nil {
		t.Skip("env --block-signal:", err)
	}
	cmd := nstest.Child(t, "exec-signals")
	cmd.Args = append(append(env, cmd.Path), cmd.Args[1:]...)
	cmd.Path, _ = exec.LookPath("env")
	out, err := cmd.CombinedOutput()
	want := maskOf(syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGTSTP, syscall.SIGWINCH)
	if got := statusMask(t, out, "SigBlk"); err != nil || got != want {
		t.Errorf("got %#x, want %#x (%v)", got, want, err)
	}
}

// execFailed prints what differs after an Exec that the kernel refused.
func execFailed() int {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP, syscall.SIGTTOU)
	signal.Ignore(syscall.SIGPIPE)
	if err := pprof.StartCPUProfile(io.Discard); err != nil {
		return fail(err)
	}
	before := signalState()
	err := pid1.Exec(os.Args[1])
	if after := signalState(); after != before {
		fmt.Printf("before:\n%safter:\n%s", before, after)
	}
	if !strings.Contains(err.Error(), "exec format error") {
		return fail(err)
	}
	return 0
}

func signalState() string {
	status, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		return err.Error()
	}
	var timer [2]syscall.Timeval
	syscall.RawSyscall(syscall.SYS_GETITIMER, 2, uintptr(unsafe.Pointer(&timer)), 0)
	var files syscall.Rlimit
	syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files)
	state := fmt.Sprintf("profile timer: %v\nopen files: %v\n", timer[0], files)
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "Sig") && !strings.HasPrefix(line, "SigQ") && !strings.HasPrefix(line, "SigPnd") {
			state += line
		}
	}
	return state
}

func TestExecFailedChangesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	script(t, dir, "text", "no program\n")
	cmd := nstest.Child(t, "exec-failed", dir+"/text")
	viaShell(t, cmd, "ulimit -S -n 123; trap '' HUP TTOU")
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}

// execProfiled runs a program that takes CPU time while a profile is on.
func execProfiled() int {
	if err := pprof.StartCPUProfile(io.Discard); err != nil {
		return fail(err)
	}
	return fail(pid1.Exec("sh", "-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo done"))
}

func TestExecWhileProfiled(t *testing.T) {
	t.Parallel()
	if out, err := nstest.Child(t, "exec-profiled").CombinedOutput(); err != nil || string(out) != "done\n" {
		t.Errorf("got %q, %v; want the program to end by itself", out, err)
	}
}

// The two riddles of multi-arch images, with files that the kernel reads.
func TestExecELF(t *testing.T) {
	nstest.SkipEmulated(t, "loads programs itself, after execve has succeeded")
	t.Parallel()
	if strconv.IntSize != 64 {
		t.Skip("the files made here are 64-bit")
	}
	native := map[string]elf.Machine{
		"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64, "riscv64": elf.EM_RISCV, "loong64": elf.EM_LOONGARCH,
	}
	other := elf.EM_AARCH64
	if runtime.GOARCH == "arm64" {
		other = elf.EM_X86_64
	}
	machine, ok := native[runtime.GOARCH]
	if !ok {
		t.Skip("no ELF header for", runtime.GOARCH)
	}
	dir := t.TempDir()
	script(t, dir, "noloader", program(machine, "/lib/ld-none.so.1"))
	script(t, dir, "foreign", program(other, ""))
	script(t, dir, "torn", program(machine, "")[:64])
	script(t, dir, "vianoloader", "#!"+dir+"/noloader\n")

	foreign := map[bool]string{true: "amd64", false: "arm64"}[runtime.GOARCH == "arm64"]
	tests := []struct{ name, want string }{
		{"noloader", `no such file or directory: it is dynamically linked and its loader "/lib/ld-none.so.1" does not exist here`},
		{"vianoloader", `its loader "/lib/ld-none.so.1" does not exist here`},
		{"foreign", "exec format error: it is built for " + foreign + " and this machine is " + runtime.GOARCH},
		{"torn", "damaged"},
	}
	for _, tt := range tests {
		cmd := nstest.Child(t, "exec", dir+"/"+tt.name)
		out, _ := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != 126 || !strings.Contains(string(out), tt.want) {
			t.Errorf("%s: got %d, %swant 126, %q", tt.name, got, out, tt.want)
		}
	}
}

// program is an ELF program with nothing but a loader.
func program(machine elf.Machine, loader string) string {
	var b bytes.Buffer
	header := elf.Header64{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_DYN), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT),
		Phoff: 64, Ehsize: 64, Phentsize: 56,
	}
	if loader != "" {
		header.Phnum = 1
	}
	binary.Write(&b, binary.LittleEndian, header)
	size := uint64(len(loader) + 1)
	binary.Write(&b, binary.LittleEndian, elf.Prog64{Type: uint32(elf.PT_INTERP), Off: 64 + 56, Filesz: size, Memsz: size})
	return b.String() + loader + "\x00"
}

// execNobody gives up root's right to search and run what is not its own.
func execNobody() int {
	if err := syscall.Setuid(65534); err != nil {
		return fail(err)
	}
	return execHelper()
}

func TestExecNotOurs(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("needs root, to become somebody else")
	}
	dir, err := os.MkdirTemp("", "exec") // unlike t.TempDir, below a directory for all
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	os.Chmod(dir, 0o755)
	script(t, dir, "root", "#!/bin/sh\n")
	os.Chmod(dir+"/root", 0o700)
	os.Mkdir(dir+"/locked", 0o700)
	script(t, dir+"/locked", "prog", "#!/bin/sh\n")

	tests := []struct{ name, want string }{
		{"root", "permission denied: its mode is -rwx------ and this process has uid 65534"},
		{"locked/prog", "permission denied: a directory above it may not be searched by this user"},
	}
	for _, tt := range tests {
		cmd := nstest.Child(t, "exec-nobody", dir+"/"+tt.name)
		out, _ := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != 126 || !strings.Contains(string(out), tt.want) {
			t.Errorf("%s: got %d, %swant 126, %q", tt.name, got, out, tt.want)
		}
	}
}

// execNoexec mounts a file system of its own on the directory of its argument.
func execNoexec() int {
	dir := os.Args[1]
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_NOEXEC, ""); err != nil {
		return fail(err)
	}
	if err := os.WriteFile(dir+"/prog", []byte("#!/bin/sh\n"), 0o755); err != nil {
		return fail(err)
	}
	return fail(pid1.Exec(dir + "/prog"))
}

func TestExecNoexec(t *testing.T) {
	t.Parallel()
	out, _ := nstest.Command(t, "exec-noexec", t.TempDir()).CombinedOutput()
	if want := "its file system is mounted with noexec"; !strings.Contains(string(out), want) {
		t.Errorf("got %s, want %q", out, want)
	}
}

func fail(err error) int {
	fmt.Println(err)
	return 1
}

// statusMask is a signal set of a /proc status file, signals 1 to 31.
func statusMask(t *testing.T, status []byte, name string) uint64 {
	t.Helper()
	_, rest, _ := strings.Cut(string(status), name+":\t")
	hex, _, _ := strings.Cut(rest, "\n")
	mask, err := strconv.ParseUint(hex, 16, 64)
	if err != nil {
		t.Fatalf("%s in %q: %v", name, status, err)
	}
	return mask & (1<<31 - 1)
}

func maskOf(signals ...syscall.Signal) (mask uint64) {
	for _, sig := range signals {
		mask |= 1 << (sig - 1)
	}
	return mask
}
