// SPDX-License-Identifier: MIT

package pid1_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/entrypoint-go/entrypoint/internal/nstest"
	"github.com/entrypoint-go/entrypoint/pid1"
	"github.com/entrypoint-go/entrypoint/shutdown"
)

func init() {
	helpers["command of another user"] = anotherUsersCommand
	helpers["isolated listener"] = isolatedListener
	helpers["listener without proc"] = listenerWithoutProc
	helpers["command without waitid"] = withoutWaitid
}

// A child that stops itself is continued by somebody else. Where no shell would
// continue this process, it has not stopped.
func TestCommandContinuedByOthers(t *testing.T) {
	t.Parallel()
	cmd := nstest.Child(t, "command", `echo $$; kill -TSTP $$; echo on; exit 3`)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // nobody with job control around it
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	var pid int
	fmt.Fscanln(lines, &pid)
	for !strings.Contains(stateOf(pid), "T") {
		time.Sleep(time.Millisecond)
	}
	syscall.Kill(pid, syscall.SIGCONT)
	timeout := time.AfterFunc(20*time.Second, func() { cmd.Process.Kill() })
	defer timeout.Stop()
	if line, _ := lines.ReadString('\n'); line != "on\n" {
		t.Errorf("got %q, want on", line)
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 3 {
		t.Errorf("got %v, want exit status 3: was the init stopped for ever?", err)
	}
}

func stateOf(pid int) string {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(stat), ") ")
	state, _, _ := strings.Cut(rest, " ")
	return state
}

// A child that may not be signalled is named at once.
func TestCommandNotPermitted(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("needs root to become another user")
	}
	out, err := nstest.Child(t, "command of another user").CombinedOutput()
	before, _, found := strings.Cut(string(out), "msg=stopping")
	if got := strings.Count(before, "may not be signalled"); got != 1 || !found {
		t.Errorf("%v; the log says so %d times before the stop, want once:\n%s", err, got, out)
	}
}

func anotherUsersCommand() int {
	cmd := exec.Command("sh", "-c", "echo ready; exec sleep 60")
	r, w, _ := os.Pipe()
	cmd.Stdout = w
	log := seeing{slog.NewTextHandler(os.Stderr, nil), make(chan bool)}
	go func() {
		lines := bufio.NewReader(r)
		lines.ReadString('\n')
		syscall.Setresuid(65534, 65534, 0)
		syscall.Kill(os.Getpid(), syscall.SIGUSR1)
		<-log.seen
		syscall.Setresuid(0, 0, 0)
		syscall.Kill(os.Getpid(), syscall.SIGTERM)
	}()
	app := pid1.App{Logger: slog.New(log)}
	return pid1.ExitCode(app.Run(context.Background(), pid1.Command(cmd)))
}

// seeing is a log that tells when it says that something is not permitted.
type seeing struct {
	slog.Handler
	seen chan bool
}

func (h seeing) Handle(ctx context.Context, r slog.Record) error {
	err := h.Handler.Handle(ctx, r)
	if strings.Contains(r.Message, "may not be signalled") {
		close(h.seen)
	}
	return err
}

// A child that has ended is not "still running" because a process that it has
// started holds its output open. Its status counts.
func TestCommandOutputHeld(t *testing.T) {
	t.Parallel()
	slow(t)
	for _, code := range []int{0, 3, 137} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			t.Parallel()
			attempts(t, func() error {
				r, w := io.Pipe()
				trap := fmt.Sprintf("exit %d", code)
				if code == 137 {
					trap = "" // ignored, until SIGKILL
				}
				cmd := exec.Command("sh", "-c", fmt.Sprintf(`trap '%s' TERM; sleep 60 & echo $!; while :; do sleep 0.01; done`, trap))
				cmd.Stdout = w
				ctx, cancel := context.WithCancel(t.Context())
				defer r.Close()
				lines := bufio.NewReader(r)
				go func() {
					var holder int
					fmt.Fscanln(lines, &holder)
					t.Cleanup(func() { syscall.Kill(holder, syscall.SIGKILL) })
					cancel()
					io.Copy(io.Discard, lines)
				}()
				var log bytes.Buffer
				app := pid1.App{Logger: slog.New(slog.NewTextHandler(&log, nil)), OnReport: func(*shutdown.Report) {}}
				app.Shutdown.Grace = 6 * time.Second
				child := pid1.Command(cmd)
				err := app.Run(ctx, child)
				if got := pid1.ExitCode(err); got != code || child.ExitCode() != code {
					return fmt.Errorf("exit code %d, child's %d, want %d: %w", got, child.ExitCode(), code, err)
				}
				if errors.Is(err, context.DeadlineExceeded) != (code == 137) || !strings.Contains(log.String(), "set Cmd.WaitDelay") {
					return fmt.Errorf("got %w, want a log that says why:\n%s", err, &log)
				}
				return nil
			})
		})
	}
}

// Sockets that systemd has opened for this process are the child's.
func TestCommandListens(t *testing.T) {
	t.Parallel()
	const script = `echo "$LISTEN_PID" "$LISTEN_FDS" "${LISTEN_PIDFDID-none}" "${ENTRYPOINT_LISTEN_FOR-}" $(readlink /proc/$$/fd/3); [ "$LISTEN_PID" = $$ ] || exit 9`
	for _, c := range []struct {
		helper string
		args   []string
		start  func(testing.TB, string, ...string) *exec.Cmd
	}{
		{"command", []string{script}, nstest.Child},
		{"command", []string{script}, nstest.Command},
		{"isolated listener", nil, nstest.Command},
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		socket, err := l.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		cmd := c.start(t, c.helper, c.args...)
		cmd.Args = append([]string{"sh", "-c", `LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_PIDFDID=7 exec "$0" "$@"`, cmd.Path}, cmd.Args[1:]...)
		cmd.Path, _ = exec.LookPath("sh")
		cmd.ExtraFiles = []*os.File{socket}
		cmd.Stderr = nil
		out, err := cmd.Output()
		got := strings.Fields(string(out))
		if err != nil || len(got) != 4 || got[1] != "1" || got[2] != "none" || !strings.HasPrefix(got[3], "socket:") {
			t.Errorf("%s %v: %v, %q; want the child's PID, 1, no pidfd and a socket", c.helper, c.args, err, out)
		}
		socket.Close()
		l.Close()
	}
}

func isolatedListener() int {
	os.Setenv("ENTRYPOINT_NSTEST_HELPER", "isolated listener") // for the child, which is the test binary again
	app := pid1.App{Logger: slog.New(slog.DiscardHandler), OnReport: func(*shutdown.Report) {}}
	return pid1.ExitCode(app.RunIsolated(context.Background(), pid1.Func(func(context.Context) error {
		link, _ := os.Readlink("/proc/self/fd/3")
		pidfd := "none"
		if id, ok := os.LookupEnv("LISTEN_PIDFDID"); ok {
			pidfd = id
		}
		fmt.Println(os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS"), pidfd, os.Getenv("ENTRYPOINT_LISTEN_FOR"), link)
		if os.Getenv("LISTEN_PID") != fmt.Sprint(os.Getpid()) || pid1.IsInit() {
			return errors.New("not for this process")
		}
		return nil
	})))
}

// Without /proc the sockets do not pass, and the child runs.
func TestCommandListensWithoutProc(t *testing.T) {
	t.Parallel()
	cmd := nstest.Command(t, "listener without proc")
	cmd.ExtraFiles = []*os.File{os.Stdin}
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "<nil>\n" {
		t.Errorf("got %q, %v; want no error", out, err)
	}
}

func listenerWithoutProc() int {
	if err := syscall.Mount("tmpfs", "/proc", "tmpfs", 0, ""); err != nil {
		return fail(err)
	}
	os.Setenv("LISTEN_PID", fmt.Sprint(os.Getpid()))
	os.Setenv("LISTEN_FDS", "1")
	fmt.Println(pid1.Command(exec.Command("true")).ListenAndServe())
	return 0
}

// Where the end of a child cannot be awaited without collecting it, as off Linux,
// the child still gets its signals, and its status counts.
func TestCommandWithoutWaitid(t *testing.T) {
	nstest.SkipEmulated(t, "has no seccomp(2)")
	t.Parallel()
	for _, attr := range []string{"", "group"} {
		cmd := nstest.Child(t, "command without waitid", attr)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		cmd.Stderr = &log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(out)
		for _, c := range []struct {
			want string
			next syscall.Signal
		}{{"ready\n", syscall.SIGUSR1}, {"USR1\n", syscall.SIGTERM}} {
			if line, _ := lines.ReadString('\n'); line != c.want {
				t.Errorf("%q: got %q, want %q", attr, line, c.want)
			}
			cmd.Process.Signal(c.next)
		}
		if cmd.Wait(); cmd.ProcessState.ExitCode() != 5 || strings.Contains(log.String(), "killed") {
			t.Errorf("%q: %v, want exit status 5 by SIGTERM:\n%s", attr, cmd.ProcessState, &log)
		}
	}
}

func withoutWaitid() int {
	if err := refuse(unix.SYS_WAITID, unix.ENOSYS); err != nil {
		fmt.Println(err)
		return 1
	}
	cmd := exec.Command("sh", "-c", `trap 'echo USR1' USR1; trap 'exit 5' TERM; echo ready; while :; do sleep 0.01; done`)
	cmd.Stdout = os.Stdout
	if os.Args[1] == "group" {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	}
	app := pid1.App{Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	app.Shutdown.Grace = 4 * time.Second
	return pid1.ExitCode(app.Run(context.Background(), pid1.Command(cmd)))
}

// refuse makes a system call fail in all threads of this process and in its
// children.
func refuse(call uint32, errno syscall.Errno) error {
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, // the number of the system call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: call, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0x00050000 | uint32(errno)}, // SECCOMP_RET_ERRNO
		{Code: unix.BPF_RET | unix.BPF_K, K: 0x7fff0000},                 // SECCOMP_RET_ALLOW
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, failed := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	if failed != 0 {
		return failed
	}
	return nil
}
