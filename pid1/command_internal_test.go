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

func TestParseSignal(t *testing.T) {
	for text, want := range map[string]syscall.Signal{
		"SIGTERM": syscall.SIGTERM, "TERM": syscall.SIGTERM, "term": syscall.SIGTERM, "15": 15, "SIGKILL": syscall.SIGKILL,
		"1": 1, "31": 31, "Usr1": syscall.SIGUSR1,
		"": 0, "0": 0, "-1": 0, "999": 0, "SIG": 0, "SIGSIGTERM": 0, "TERMS": 0, " 15": 0, "1e1": 0, "signal 7": 0,
	} {
		sig, err := ParseSignal(text)
		if want == 0 && err == nil || want != 0 && sig != want {
			t.Errorf("%q: got %v, %v, want %d", text, sig, err, int(want))
		}
	}
}

func FuzzParseSignal(f *testing.F) {
	f.Add("SIGTERM")
	f.Add("64")
	f.Fuzz(func(t *testing.T, text string) {
		sig, err := ParseSignal(text)
		if err != nil {
			return
		}
		if again, err := ParseSignal(signalName(sig)); err != nil && signalName(sig) != sig.String() || err == nil && again != sig {
			t.Errorf("%q is %v, whose name is %v: %v", text, sig, again, err)
		}
	})
}
