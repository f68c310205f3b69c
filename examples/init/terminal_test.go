// SPDX-License-Identifier: MIT

//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A terminal is the keyboard and the screen of a pseudo-terminal.
type terminal struct {
	keyboard *os.File
	fd       int // of keyboard, whose Fd would make it block

	mu     sync.Mutex
	screen bytes.Buffer // not seen yet
}

// onTerminal starts cmd as the leader of a session with a terminal of its own,
// as docker run -it does.
func onTerminal(t testing.TB, cmd *exec.Cmd) *terminal {
	t.Helper()
	master, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	tty := &terminal{fd: master, keyboard: os.NewFile(uintptr(master), "/dev/ptmx")}
	n, err := unix.IoctlGetInt(master, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}

	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty = true, true
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()

	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 4096)
		for {
			n, err := tty.keyboard.Read(b)
			tty.mu.Lock()
			tty.screen.Write(b[:n])
			tty.mu.Unlock()
			if err != nil {
				return // EIO: all have closed the other side
			}
		}
	}()
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			cmd.Process.Kill()
			cmd.Wait()
		}
		tty.keyboard.Close()
		<-done
		if t.Failed() {
			t.Logf("the screen:\n%s", &tty.screen)
		}
	})
	return tty
}

// shows waits until text has been printed, and forgets all up to there.
func (tty *terminal) shows(t testing.TB, text string) {
	t.Helper()
	eventually(t, fmt.Sprintf("the terminal shows %q", text), func() bool {
		tty.mu.Lock()
		defer tty.mu.Unlock()
		i := bytes.Index(tty.screen.Bytes(), []byte(text))
		if i >= 0 {
			tty.screen.Next(i + len(text))
		}
		return i >= 0
	})
}

func (tty *terminal) types(t testing.TB, keys string) {
	t.Helper()
	if _, err := tty.keyboard.WriteString(keys); err != nil {
		t.Fatal(err)
	}
}

const ctrlC, ctrlZ = "\x03", "\x1a"

var bash = []string{"--", "env", "PS1=prompt> ", "bash", "--norc", "--noediting", "-i"}

// A shell under the init process has job control.
func TestShellOnTerminal(t *testing.T) {
	each(t, []rival{ours, tini, dumbInit}, func(t *testing.T, r rival) {
		for _, cmd := range []*exec.Cmd{r.pid1(t, bash...), r.command(t, bash...)} {
			tty := onTerminal(t, cmd)
			tty.shows(t, "prompt> ")
			tty.types(t, "echo flags=$-\n")
			tty.shows(t, "\nflags=")
			tty.shows(t, "m") // "set -m" is on

			tty.types(t, "sleep 60\n")
			tty.running(t, "sleep 60")
			tty.types(t, ctrlZ)
			tty.shows(t, "Stopped")
			tty.types(t, "fg\n")
			tty.running(t, "sleep 60")
			tty.types(t, ctrlC)
			tty.shows(t, "prompt> ")
			tty.types(t, "echo status=$?\n")
			tty.shows(t, "status=130")
			tty.types(t, "exit 3\n")
			if got, want := wait(t, cmd), 3; got != want {
				t.Errorf("got status %d, want %d", got, want)
			}
		}
	})
}

// running waits until the foreground of the terminal runs the command.
func (tty *terminal) running(t testing.TB, commandLine string) {
	t.Helper()
	want := strings.ReplaceAll(commandLine, " ", "\x00") + "\x00"
	eventually(t, commandLine+" is in the foreground", func() bool {
		pgrp, err := unix.IoctlGetInt(tty.fd, unix.TIOCGPGRP)
		if err != nil {
			return false
		}
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pgrp))
		return err == nil && string(line) == want && !stopped(pgrp)
	})
}

// Ctrl-C ends a program that is alone on the terminal.
func TestInterruptOnTerminal(t *testing.T) {
	each(t, []rival{ours, tini, dumbInit}, func(t *testing.T, r rival) {
		for _, cmd := range []*exec.Cmd{r.pid1(t, "--", "sleep", "60"), r.command(t, "--", "sleep", "60")} {
			tty := onTerminal(t, cmd)
			tty.running(t, "sleep 60")
			tty.types(t, ctrlC)
			if got, want := wait(t, cmd), 130; got != want {
				t.Errorf("got status %d, want %d", got, want)
			}
		}
	})
}

// Under a shell, Ctrl-Z stops the init process with its program and the rest of the
// job, and fg wakes all. (tini goes on, and the shell never comes back.)
func TestSuspendUnderShell(t *testing.T) {
	self := ours.command(t)
	for _, job := range []string{"%s -s sleep 60", "set -o pipefail; %s -s sleep 60 | cat", "sh -c '%s -s sleep 60; exit $?'"} {
		outer := exec.Command(bash[1], bash[2:]...)
		outer.Env = self.Env
		tty := onTerminal(t, outer)
		tty.shows(t, "prompt> ")
		tty.types(t, fmt.Sprintf(job, self.Path)+"\n")
		for range 3 {
			tty.running(t, "sleep 60")
			tty.types(t, ctrlZ)
			tty.shows(t, "Stopped")
			tty.types(t, "fg\n")
		}
		tty.running(t, "sleep 60")
		tty.types(t, ctrlC)
		tty.shows(t, "prompt> ")
		tty.types(t, "echo status=$?\n")
		tty.shows(t, "status=130")
		tty.types(t, "exit\n")
		wait(t, outer)
	}
}

// A stop signal for the init process stops both, and SIGCONT wakes both.
func TestSuspend(t *testing.T) {
	each(t, []rival{ours, dumbInit}, func(t *testing.T, r rival) {
		for _, sig := range []syscall.Signal{syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU} {
			cmd := r.command(t, "--", "sh", "-c", "echo $$; exec sleep 60")
			// A group of its own, with us as the one who may continue it: in the
			// tests' own group there may be nobody, and then init does not stop.
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			p := start(t, cmd)
			var program int
			fmt.Sscan(p.line(t), &program)
			for range 3 {
				p.signal(t, sig)
				eventually(t, "both are stopped", func() bool { return stopped(program) && stopped(p.Process.Pid) })
				p.signal(t, syscall.SIGCONT)
				eventually(t, "both run", func() bool { return !stopped(program) && !stopped(p.Process.Pid) })
			}
			p.signal(t, syscall.SIGTERM)
			if got, want := p.status(t), 143; got != want {
				t.Errorf("got status %d, want %d", got, want)
			}
		}
	})
}

func stopped(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && bytes.Contains(text, []byte(") T "))
}
