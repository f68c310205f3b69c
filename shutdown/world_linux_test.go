package shutdown_test

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/entrypoint-go/entrypoint/shutdown"
)

// A hook that is blocked in a raw system call cannot be stopped for a traceback. The
// others run all the same.
func TestRawSystemCall(t *testing.T) {
	if runtime.GOMAXPROCS(0) == 1 {
		t.Skip("the hook has the only processor")
	}
	ctx, cancel := context.WithTimeout(background, 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), "SHUTDOWN_TEST_PROGRAM=raw system call", "GOGC=off") // which would block them, too
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "stuck ok 2 steps") ||
		!strings.Contains(string(out), "left out: a goroutine seems to be blocked in a raw system call") {
		t.Errorf("%v\n%s", err, out)
	}
}

func init() { programs["raw system call"] = runRawSystemCall }

// A hook in a blocking system call that the runtime knows of has its stack. On a busy
// machine that may need another try.
func TestSystemCall(t *testing.T) {
	var stack string
	for range 10 {
		if stack = stackInSystemCall(t); countIn("stackInSystemCall.func1", stack) == 1 {
			return
		}
	}
	t.Errorf("the stack is\n%s", stack)
}

func stackInSystemCall(t *testing.T) string {
	var pipe [2]int
	if err := syscall.Pipe(pipe[:]); err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(pipe[0])
	ended := make(chan struct{})
	stack := stuckStack(t, quiet(), func(context.Context) error {
		defer close(ended)
		_, err := syscall.Read(pipe[0], make([]byte, 1))
		return err
	})
	syscall.Close(pipe[1])
	<-ended
	return stack
}

// runRawSystemCall is the program that TestRawSystemCall runs.
func runRawSystemCall() {
	var pipe [2]int
	if err := syscall.Pipe(pipe[:]); err != nil {
		panic(err)
	}
	p := shutdown.Pipeline{Grace: 5 * time.Second, Logger: slog.New(slog.NewTextHandler(os.Stdout, nil))}
	p.Defer("next", nothing)
	p.Add(shutdown.Hook{Name: "raw", Timeout: 100 * ms, Func: func(context.Context) error {
		var b [1]byte
		syscall.RawSyscall(syscall.SYS_READ, uintptr(pipe[0]), uintptr(unsafe.Pointer(&b)), 1)
		return nil
	}})
	r := p.Run(background)
	os.Stdout.WriteString(r.Steps[0].State.String() + " " + r.Steps[1].State.String() + " 2 steps\n")
}
