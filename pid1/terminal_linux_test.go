// SPDX-License-Identifier: MIT

package pid1_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/entrypoint-go/entrypoint/internal/linux"
	"github.com/entrypoint-go/entrypoint/internal/nstest"
	"github.com/entrypoint-go/entrypoint/pid1"
)

func init() { helpers["command on a terminal"] = commandOnTerminal }

// terminal opens a pseudo-terminal, see pty(7).
func terminal(t *testing.T) (keyboard, tty *os.File) {
	t.Helper()
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals: %v", err)
	}
	t.Cleanup(func() { keyboard.Close() })
	conn, err := keyboard.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var unlock, n int32
	conn.Control(func(fd uintptr) {
		syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCSPTLCK, uintptr(unsafe.Pointer(&unlock)))
		syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCGPTN, uintptr(unsafe.Pointer(&n)))
	})
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tty.Close() })
	return keyboard, tty
}

// TestCtrlCSkipsDelay: at a terminal nobody routes requests to the process. The
// timeline goes to the terminal.
func TestCtrlCSkipsDelay(t *testing.T) {
	t.Parallel()
	keyboard, tty := terminal(t)
	cmd := nstest.Child(t, "app", "-delay=1m", "-grace=10m")
	cmd.Stdin, cmd.Stderr = tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tty.Close()
	screen := make(chan string)
	go func() {
		all, _ := io.ReadAll(keyboard) // ends with EIO when the process has
		screen <- string(all)
	}()
	if line, err := bufio.NewReader(stdout).ReadString('\n'); !strings.HasPrefix(line, "serving") {
		t.Fatalf("got %q, %v", line, err)
	}
	began := time.Now()
	io.WriteString(keyboard, "\x03") // Ctrl-C
	err = cmd.Wait()
	seen := <-screen
	if took := time.Since(began); err != nil || took > 30*time.Second {
		t.Errorf("%v after %v; on the screen:\n%s", err, took, seen)
	}
	if !strings.Contains(seen, "shutdown: SIGINT") {
		t.Errorf("no timeline on the screen:\n%s", seen)
	}
}

// commandOnTerminal has a child whose output a process holds, until the test has seen
// enough.
func commandOnTerminal() int {
	held := make(chan int, 1)
	cmd := exec.Command("sh", "-c", "sleep 60 & echo $!")
	cmd.Stdin = os.Stdin
	cmd.Stdout = &firstLine{f: func(line string) {
		var holder int
		fmt.Sscan(line, &holder)
		held <- holder
	}}
	go func() {
		holder := <-held
		defer syscall.Kill(holder, syscall.SIGKILL)
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			if pgrp, err := linux.Foreground(os.Stdin); err == nil && pgrp == syscall.Getpgrp() {
				fmt.Println("taken")
				return
			}
		}
	}()
	return pid1.ExitCode(pid1.Command(cmd).ListenAndServe())
}

// This process has the terminal again when the child has ended, and not only when
// nobody holds its output.
func TestTerminalTakenAtTheEnd(t *testing.T) {
	t.Parallel()
	_, tty := terminal(t)
	cmd := nstest.Child(t, "command on a terminal")
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout = tty, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	if err := cmd.Run(); err != nil || out.String() != "taken\n" {
		t.Errorf("got %q, %v; want the terminal taken", &out, err)
	}
}
