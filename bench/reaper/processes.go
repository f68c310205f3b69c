// SPDX-License-Identifier: MIT

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// makeOrphans starts n processes that sleep, and whose parent has ended. They
// are in one process group.
func makeOrphans(n int) (group int, pids []int, err error) {
	// The sleepers must not hold the pipe of Output.
	script := fmt.Sprintf("i=0; while [ $i -lt %d ]; do sleep 1000 >&- 2>&- & echo $!; i=$((i+1)); done", n)
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		return 0, nil, fmt.Errorf("make %d orphans: %w", n, err)
	}
	for word := range strings.FieldsSeq(out.String()) {
		pid, err := strconv.Atoi(word)
		if err != nil {
			return 0, nil, err
		}
		pids = append(pids, pid)
	}
	if len(pids) != n {
		return 0, nil, fmt.Errorf("make %d orphans: got %d", n, len(pids))
	}
	return cmd.Process.Pid, pids, nil
}

// diers is a command that leaves n orphans behind, which die at once.
func diers(n int) *exec.Cmd {
	return exec.Command("/bin/sh", "-c", strings.Repeat("/bin/true & ", n))
}

// zombies lists the dead children of PID 1.
func zombies() ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue // gone
		}
		_, rest, _ := bytes.Cut(stat, []byte(") "))
		if bytes.HasPrefix(rest, []byte("Z 1 ")) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// adopted lists the children of PID 1's first thread, where orphans come to. It
// looks at no /proc/<pid>: what the kernel remembers of such a look is removed by
// whatever collects the process, in its processor time.
func adopted() ([]int, error) {
	list, err := os.ReadFile("/proc/1/task/1/children")
	if err != nil {
		return nil, err
	}
	var pids []int
	for word := range strings.FieldsSeq(string(list)) {
		pid, err := strconv.Atoi(word)
		if err != nil {
			return nil, err
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// leftZombies is how many dead children PID 1 still has after patience.
func leftZombies(patience time.Duration) (int, error) {
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		pids, err := zombies()
		if err != nil || len(pids) == 0 || time.Now().After(end) {
			return len(pids), err
		}
	}
}
