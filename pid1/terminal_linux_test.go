// SPDX-License-Identifier: MIT

package pid1_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/entrypoint-go/entrypoint/internal/nstest"
)

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
