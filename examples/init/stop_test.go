// SPDX-License-Identifier: MIT

//go:build linux

package main

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/nstest"
)

// With -t what is left gets time to end, and is killed after that; the status
// is the program's in any case.
func TestLeftovers(t *testing.T) {
	t.Parallel()
	command := map[string]func(testing.TB, ...string) *exec.Cmd{"PID 1": ours.pid1, "subreaper": ours.command}
	tests := []struct {
		how, wait string
		out       string
		min, max  time.Duration
	}{
		{"quick", "60s", "", 0, 20 * time.Second},
		{"polite", "60s", "cleaned up", 200 * time.Millisecond, 20 * time.Second},
		{"stubborn", "1s", "", 700 * time.Millisecond, 20 * time.Second},
	}
	for _, test := range tests {
		for name, command := range command {
			t.Run(test.how+", "+name, func(t *testing.T) {
				p := start(t, command(t, append([]string{"-s", "-t", test.wait}, programArgs("leave", test.how)...)...))
				p.line(t)
				begun := time.Now()
				p.stdin.Close()
				if test.out != "" {
					if got := p.line(t); got != test.out {
						t.Errorf("got %q, want %q", got, test.out)
					}
				}
				if got, want := p.status(t), 7; got != want {
					t.Errorf("got status %d, want %d", got, want)
				}
				if took := time.Since(begun); took < test.min || took > test.max {
					t.Errorf("took %v, want %v to %v", took, test.min, test.max)
				}
			})
		}
	}

	// Without -t the end of PID 1 is the end of all, at once.
	each(t, []rival{ours, tini, dumbInit}, func(t *testing.T, r rival) {
		p := start(t, r.pid1(t, programArgs("leave", "stubborn")...))
		p.line(t)
		p.stdin.Close()
		if got, want := p.status(t), 7; got != want {
			t.Errorf("got status %d, want %d", got, want)
		}
	})
}

// Signals at any moment, of any kind, lead to one of the documented statuses,
// and nothing is left. STORMS is how many runs there are; 300 take a minute.
func TestStorm(t *testing.T) {
	t.Parallel()
	storms := nstest.Rounds(10, 20, 30)
	if n, err := strconv.Atoi(os.Getenv("STORMS")); err == nil {
		storms = n
	}
	signals := []syscall.Signal{
		syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2,
		syscall.SIGTSTP, syscall.SIGCONT, syscall.SIGCHLD, syscall.SIGURG, syscall.SIGWINCH, syscall.SIGSEGV, 35, 64,
	}
	const script = `echo ready; trap : HUP USR1; sleep 0.03 & (sleep 0.02 &); wait; sleep 0.02; exit 7`
	var mu sync.Mutex
	seen := map[int]int{}
	parallel(storms, func(i int) {
		random := rand.New(rand.NewPCG(1, uint64(i)))
		mu.Lock()
		command := []func(testing.TB, ...string) *exec.Cmd{ours.pid1, ours.command}[i%2]
		cmd := command(t, "-s", "-t", "1s", "--", "sh", "-c", script)
		mu.Unlock()
		cmd.Env = append(cmd.Environ(), fmt.Sprintf("STORM=%d-%d", os.Getpid(), i))
		stdout, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Error(err)
			return
		}
		if i%3 > 0 { // else it begins before the first line of main
			bufio.NewReader(stdout).ReadString('\n')
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			cmd.Wait()
		}()
		sent := storm(cmd.Process, signals, random, done)
		<-done

		status := cmd.ProcessState.Sys().(syscall.WaitStatus)
		code := status.ExitStatus()
		if status.Signaled() {
			code = 128 + int(status.Signal())
		}
		mu.Lock()
		defer mu.Unlock()
		seen[code]++
		if !documented(code, signals) {
			t.Errorf("storm %d: status %d (%v) after %v", i, code, cmd.ProcessState, sent)
		}
		if left := withVariable(t, fmt.Sprintf("STORM=%d-%d", os.Getpid(), i)); len(left) > 0 {
			t.Errorf("storm %d: left %v after %v", i, left, sent)
		}
	})
	t.Logf("statuses: %v", seen)
}

// storm sends signals until the process has ended. What it stops it wakes.
func storm(p *os.Process, signals []syscall.Signal, random *rand.Rand, done <-chan struct{}) (sent []syscall.Signal) {
	for {
		select {
		case <-done:
			return sent
		case <-time.After(time.Duration(random.IntN(10_000)) * time.Microsecond):
		}
		sig := signals[random.IntN(len(signals))]
		sent = append(sent, sig)
		p.Signal(sig)
		if len(sent) > 20 {
			p.Signal(syscall.SIGCONT)
			p.Signal(syscall.SIGTERM)
		}
	}
}

// documented reports whether it is the program's status, or 128+n, or Go's 2 for
// a signal that came before the first line of main.
func documented(code int, signals []syscall.Signal) bool {
	if code == 7 || code == 2 {
		return true
	}
	for _, sig := range signals {
		if code == 128+int(sig) {
			return true
		}
	}
	return false
}

// withVariable lists the processes with that in their environment.
func withVariable(t testing.TB, variable string) (left []string) {
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil && strings.Contains("\x00"+string(text), "\x00"+variable+"\x00") {
			left = append(left, file)
		}
	}
	return left
}
