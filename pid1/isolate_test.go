// SPDX-License-Identifier: MIT

//go:build linux

package pid1_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/nstest"
	"github.com/entrypoint-go/entrypoint/pid1"
	"github.com/entrypoint-go/entrypoint/reaper"
)

func init() {
	helpers["isolated"] = isolatedMain
	helpers["isolated job"] = isolatedJobMain
}

// isolatedJobMain has a Job, and a context that has ended.
func isolatedJobMain() int {
	os.Setenv("ENTRYPOINT_NSTEST_HELPER", "isolated job") // for the child, if it gets one
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	app := pid1.App{Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	return pid1.ExitCode(app.RunIsolated(ctx, pid1.Job(func(context.Context) error { return nil })))
}

// TestIsolateJob: a Job that never began is not done, whether or not the stop came
// before the child was started.
func TestIsolateJob(t *testing.T) {
	t.Parallel()
	for range 10 {
		cmd := nstest.Command(t, "isolated job")
		out, _ := cmd.CombinedOutput()
		code := cmd.ProcessState.ExitCode()
		if code == 128+15 {
			continue // the child was started, and had no handler for SIGTERM yet
		}
		if code != 1 || !strings.Contains(string(out), "was interrupted") {
			t.Fatalf("exit code %d, want 1 and what was interrupted:\n%s", code, out)
		}
	}
}

// isolatedMain is a program that calls RunIsolated. Its argument says what it serves.
func isolatedMain() int {
	os.Setenv("ENTRYPOINT_NSTEST_HELPER", "isolated") // for the child, which is the test binary again
	app := pid1.App{Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	if os.Args[1] == "orphan" {
		app.Reaper.OnReap = func(reaper.Exit) { os.Stdout.WriteString(fmt.Sprintf("reaped by PID %d\n", os.Getpid())) }
	}
	app.Before("say", func(context.Context) error {
		_, err := fmt.Printf("before: pid1=%v parent=%d\n", pid1.IsInit(), os.Getppid())
		return err
	})
	app.Shutdown.Defer("say", func(context.Context) error {
		_, err := fmt.Println("hook")
		return err
	})
	if os.Args[1] == "force" {
		app.Shutdown.Defer("hangs", func(ctx context.Context) error {
			fmt.Println("hangs")
			<-ctx.Done()
			return nil
		})
	}
	code := pid1.ExitCode(app.RunIsolated(context.Background(), pid1.Func(func(ctx context.Context) error {
		switch os.Args[1] {
		case "fork":
			n, err := strconv.Atoi(os.Args[2])
			if err != nil {
				return err
			}
			return forkAndWait(n)
		case "fail":
			return coded(42)
		case "leave":
			return leaveOrphans()
		case "orphan":
			if err := exec.Command("sh", "-c", "true &").Run(); err != nil {
				return err
			}
		}
		fmt.Println("serving")
		<-ctx.Done()
		fmt.Println(context.Cause(ctx))
		return nil
	})))
	if os.Args[1] == "stay" && !pid1.IsInit() {
		time.Sleep(time.Hour)
	}
	return code
}

// forkAndWait does what a C library does that knows of no other children than
// its own: it forks, and waits for any child.
func forkAndWait(n int) error {
	const script = "(sleep 0.01 &) ; exit 7" // leaves an orphan, too
	for i := range n {
		pid, err := syscall.ForkExec("/bin/sh", []string{"sh", "-c", script}, &syscall.ProcAttr{Env: os.Environ()})
		if err != nil {
			return err
		}
		var status syscall.WaitStatus
		got, err := syscall.Wait4(-1, &status, 0, nil)
		for err == syscall.EINTR {
			got, err = syscall.Wait4(-1, &status, 0, nil)
		}
		if err != nil || got != pid || status.ExitStatus() != 7 {
			return fmt.Errorf("child %d, PID %d: got PID %d, status %d, %v", i, pid, got, status.ExitStatus(), err)
		}
	}
	for deadline := time.Now().Add(10 * time.Second); zombies() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("%d zombies are left", zombies())
		}
	}
	return nil
}

// zombies counts those of this PID namespace.
func zombies() (n int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range stats {
		text, err := os.ReadFile(file)
		if err == nil && bytes.Contains(text, []byte(") Z ")) {
			n++
		}
	}
	return n
}

// leaveOrphans leaves two processes: one that takes its time to end, and one
// that ignores SIGTERM.
func leaveOrphans() error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd := exec.Command("sh", "-c", `
		sh -c 'trap "sleep 0.1; echo cleaned up; exit" TERM; echo ready >&3; while :; do sleep 0.01; done' &
		sh -c 'trap "" TERM; echo ready >&3; while :; do sleep 0.01; done' &`)
	cmd.Stdout = os.Stdout
	cmd.ExtraFiles = []*os.File{w}
	err = cmd.Run()
	w.Close()
	if _, readErr := io.ReadFull(r, make([]byte, len("ready\nready\n"))); err != nil || readErr != nil {
		return errors.Join(err, readErr)
	}
	return errors.New("enough")
}

func TestIsolate(t *testing.T) {
	t.Parallel()
	const before = "before: pid1=false parent=1\n"
	tests := []struct {
		serve string
		grace string
		out   string
		code  int
	}{
		{"fork", "", before + "hook\n", 0},
		{"fail", "", before + "hook\n", 42},
		{"leave", "5s", before + "hook\ncleaned up\n", 1},
	}
	for _, test := range tests {
		t.Run(test.serve, func(t *testing.T) {
			t.Parallel()
			cmd := nstest.Command(t, "isolated", test.serve, strconv.Itoa(nstest.Rounds(10, 100, 200)))
			cmd.Env = append(cmd.Env, "SHUTDOWN_GRACE="+test.grace)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, _ := cmd.Output()
			if got := cmd.ProcessState.ExitCode(); string(out) != test.out || got != test.code {
				t.Errorf("got exit code %d and\n%swant %d and\n%slog:\n%s", got, out, test.code, test.out, &stderr)
			}
		})
	}
}

// Each stop signal is the child's, whose App drains and runs its hooks.
func TestIsolateStop(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		cmd := nstest.Command(t, "isolated", "serve")
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var got strings.Builder
		for {
			b := make([]byte, 100)
			n, err := stdout.Read(b)
			got.Write(b[:n])
			if err != nil {
				break
			}
			if strings.HasSuffix(got.String(), "serving\n") {
				cmd.Process.Signal(sig)
			}
		}
		err = cmd.Wait()
		want := fmt.Sprintf("before: pid1=false parent=1\nserving\n%v\nhook\n", &pid1.SignalError{Signal: sig})
		if got.String() != want || err != nil {
			t.Errorf("%v: got %v and\n%swant no error and\n%s", sig, err, got.String(), want)
		}
	}
}

// PID 1 collects orphans and tells of it, the servers' process does not.
func TestIsolateReaps(t *testing.T) {
	t.Parallel()
	cmd := nstest.Command(t, "isolated", "orphan")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(stdout)
	awaitLine(t, lines, "reaped by PID 1\n")
	cmd.Process.Signal(syscall.SIGTERM)
	rest, _ := io.ReadAll(lines)
	if err := cmd.Wait(); err != nil || strings.Contains(string(rest), "reaped") {
		t.Errorf("%v, then\n%s", err, rest)
	}
}

// Without PID 1 there is nothing to isolate from.
func TestIsolateElsewhere(t *testing.T) {
	t.Parallel()
	out, err := nstest.Child(t, "isolated", "fail").Output()
	if want := fmt.Sprintf("before: pid1=false parent=%d\nhook\n", os.Getpid()); string(out) != want {
		t.Errorf("got %v and\n%swant\n%s", err, out, want)
	}
}

// A child that does not end gets SIGKILL inside the grace, of which its own stop has
// had four fifths.
func TestIsolateChildStays(t *testing.T) {
	t.Parallel()
	slow(t)
	cmd := nstest.Command(t, "isolated", "stay")
	cmd.Env = append(cmd.Env, "SHUTDOWN_GRACE=5s")
	stalled := stalls(t)
	p := startCommand(t, cmd)
	p.await("serving")
	p.signal(syscall.SIGTERM)
	p.await("hook")
	if code := p.exit(); code != 128+9 { // it must die of SIGKILL in a fifth of a second
		skipIfStalled(t, stalled(), fmt.Errorf("exit code %d", code))
		t.Fatalf("exit code %d, want 137; stderr:\n%s", code, &p.stderr)
	}
	p.wantLog("SIGKILL at 4s", `step=processes state=ok`, `step=`+filepath.Base(cmd.Path)+` state=failed`)
}

// The child's App counts the stop signals: a second one forces its stop.
func TestIsolateForce(t *testing.T) {
	t.Parallel()
	cmd := nstest.Command(t, "isolated", "force")
	cmd.Env = append(cmd.Env, "SHUTDOWN_GRACE=10m")
	p := startCommand(t, cmd)
	p.await("serving")
	p.signal(syscall.SIGTERM)
	p.await("hangs")
	p.signalUntilExit(syscall.SIGINT, 128+2)
	p.wantLog(`msg="shutdown: forced"`, "step=processes state=ok")
}
