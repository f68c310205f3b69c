// SPDX-License-Identifier: MIT

//go:build docker && linux

package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/nstest"
)

// What the library may add to the same server without it, in KiB.
const (
	maxBinary = 740 // it is 728 with Go 1.26.8

	// 1000 to 1100 on a quiet machine. On a busy one Go starts more threads,
	// and its memory grows by what they touch.
	maxResident = 1536
)

// These figures are taken in the quiet of the container phase of CI, and need no
// container.

// The library adds no process and no wake-up to a server that is PID 1, and a
// bounded amount of memory.
func TestCost(t *testing.T) {
	with, without := build(t, "."), build(t, "./internal/plain")
	plainSize := fileSize(t, without)
	moreSize := fileSize(t, with) - plainSize
	t.Logf("binary: %d KiB and %d KiB more", plainSize, moreSize)
	if moreSize > maxBinary {
		t.Errorf("binary: %d KiB more, want at most %d", moreSize, maxBinary)
	}

	// Memory varies from run to run with what the kernel has mapped and when
	// the collector ran: the median of a few.
	var memory, plain []int
	for range 5 {
		memory = append(memory, resident(startPID1(t, with)))
		plain = append(plain, resident(startPID1(t, without)))
	}
	slices.Sort(memory)
	slices.Sort(plain)
	more := memory[len(memory)/2] - plain[len(plain)/2]
	t.Logf("resident: %d KiB and %d KiB more (%v, %v)", plain[len(plain)/2], more, plain, memory)
	if more > maxResident {
		t.Errorf("resident: %d KiB more, want at most %d", more, maxResident)
	}

	pid := startPID1(t, with)
	before := settledSwitches(pid)
	// Settled: package os starts a process once, to see whether pidfds work.
	if children := children(pid); len(children) != 0 {
		t.Errorf("got child processes %s, want none", children)
	}
	time.Sleep(5 * time.Second)
	if got := switches(pid) - before; got != 0 {
		t.Errorf("got %d voluntary context switches in 5 s of idleness, want 0", got)
	}
}

func init() { helpers["exec"] = execute }

// execute is the helper that becomes the program named by its arguments.
func execute() int {
	err := syscall.Exec(os.Args[1], os.Args[1:], os.Environ())
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// build builds a program as its image would, and returns the path.
func build(t *testing.T, pkg string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "server")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", binary, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", pkg, err, out)
	}
	return binary
}

// fileSize is in KiB.
func fileSize(t *testing.T, name string) int64 {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size() >> 10
}

// startPID1 starts the program as a PID 1, makes one request, and returns the
// process's number out here.
func startPID1(t *testing.T, binary string) (pid int) {
	t.Helper()
	s := start(t, nstest.Command(t, "exec", binary))
	pid = s.cmd.Process.Pid
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		response, err := client.Get("http://" + s.addr + "/")
		if err == nil {
			response.Body.Close()
			return pid
		}
		time.Sleep(time.Millisecond) // the plain one says that it serves before it listens
	}
}

// resident is the VmRSS of a process in KiB.
func resident(pid int) int { return status(fmt.Sprintf("/proc/%d/status", pid), "VmRSS:") }

// settledSwitches waits until the request is over for the runtime, too.
func settledSwitches(pid int) (sum int) {
	for last := -1; last != sum; {
		time.Sleep(200 * time.Millisecond)
		last, sum = sum, switches(pid)
	}
	return sum
}

// switches sums up how often the threads of a process went to sleep.
func switches(pid int) (sum int) {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	for _, thread := range threads {
		sum += status(thread, "voluntary_ctxt_switches:")
	}
	return sum
}

// status is the number in a line of a status file.
func status(file, key string) (n int) {
	data, _ := os.ReadFile(file)
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, key); ok {
			fmt.Sscan(value, &n)
		}
	}
	return n
}

// children lists the child processes of all threads.
func children(pid int) []byte {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	var all []byte
	for _, file := range files {
		data, _ := os.ReadFile(file)
		all = append(all, data...)
	}
	return bytes.TrimSpace(all)
}
