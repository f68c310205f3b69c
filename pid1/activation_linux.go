package pid1

import (
	"os"
	"strconv"
	"strings"
	"syscall"
)

// Socket activation, sd_listen_fds(3): $LISTEN_FDS descriptors from 3 on are for
// the process that $LISTEN_PID names. A Child needs them with its own PID, which
// nobody knows before it runs. So it is started through this program once more,
// whose initialisation writes the PID and executes the real program.
const (
	listenPID = "LISTEN_PID"
	listenFDs = "LISTEN_FDS"
	listenFor = "ENTRYPOINT_LISTEN_FOR" // the real program; "" if it is this one
)

var _ = becomeListener()

// becomeListener is for the process that passSockets starts. In all others it does
// nothing.
func becomeListener() (none struct{}) {
	path, ok := os.LookupEnv(listenFor)
	if !ok {
		return
	}
	os.Unsetenv(listenFor)
	os.Setenv(listenPID, strconv.Itoa(os.Getpid()))
	if path == "" {
		return
	}
	// Without its Cause: what finds that would be in every program.
	err := &ExecError{Path: path, Found: true, Err: replace(path, os.Args)}
	os.Stderr.WriteString(err.Error() + "\n")
	os.Exit(err.ExitCode())
	return
}

// passSockets changes c.Cmd so that the sockets which are for this process are for
// the child, and returns what is to be done after the start. It changes nothing if
// there are none, or if Cmd has ExtraFiles, which have the same numbers.
func (c *Child) passSockets() (started func()) {
	env := c.Cmd.Environ()
	number := func(name string) int {
		n := 0
		for _, entry := range env {
			if value, ok := strings.CutPrefix(entry, name+"="); ok { // the last one counts
				n, _ = strconv.Atoi(value)
			}
		}
		return n
	}
	n, path := number(listenFDs), c.Cmd.Path
	if number(listenPID) != os.Getpid() || n <= 0 || len(c.Cmd.ExtraFiles) > 0 || c.Cmd.Err != nil || !executable(path) {
		return func() {}
	}
	var sockets []*os.File
	started = func() {
		for _, s := range sockets {
			s.Close()
		}
		c.Cmd.Path, c.Cmd.ExtraFiles = path, nil
	}
	for fd := 3; fd < 3+n; fd++ {
		// A copy: an os.File of the descriptor itself would close it one day.
		socket, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_DUPFD_CLOEXEC, uintptr(3+n))
		if errno != 0 {
			started()
			return func() {}
		}
		sockets = append(sockets, os.NewFile(socket, "socket"))
	}
	program := path
	if c.again {
		program = ""
	}
	c.Cmd.Path, c.Cmd.ExtraFiles = "/proc/self/exe", sockets
	c.Cmd.Env = append(env, listenFor+"="+program)
	return started
}

// executable is a guess: where it is wrong, the sockets do not pass, or the error
// is in the child's standard error and in its exit status.
func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}
