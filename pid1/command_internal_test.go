//go:build unix

package pid1

import (
	"os/exec"
	"runtime"
	"syscall"
	"testing"
)

// A signal that comes before the child runs is for the child.
func TestSignalBeforeStart(t *testing.T) {
	child := &Child{Cmd: exec.Command("sleep", "60")}
	child.signal(syscall.SIGUSR1)
	if got, want := ExitCode(child.ListenAndServe()), 128+int(syscall.SIGUSR1); got != want {
		t.Errorf("exit code %d, want %d", got, want)
	}
}

// A child that is being started when a stop is forced is not left behind.
func TestKillWhileStarting(t *testing.T) {
	for caught := 0; caught < 10; {
		child := &Child{Cmd: exec.Command("sleep", "60")}
		done := make(chan error)
		go func() { done <- child.ListenAndServe() }()

		state := func() childState {
			child.mu.Lock()
			defer child.mu.Unlock()
			return child.state
		}
		for state() == childNew {
			runtime.Gosched()
		}
		if state() == childStarting {
			caught++
		}
		child.kill()
		if got := state(); got == childStarting {
			t.Fatal("killed, and is still being started")
		}
		if got, want := ExitCode(<-done), 128+int(syscall.SIGKILL); got != want {
			t.Errorf("exit code %d, want %d", got, want)
		}
	}
}
