package pid1

import (
	"os"
	"runtime"
	"syscall"
	"unsafe"
)

// lastSignal is SIGRTMAX, on MIPS some more.
const lastSignal = 64

// leftIgnored reports whether sig was ignored when this process started, and
// still is unless somebody asked for it.
func leftIgnored(sig syscall.Signal) bool { return ignoredAtStart&(1<<(sig-1)) != 0 }

// cLibrary reports whether sig is one that Go leaves to the C library, so that
// Notify never sees it (runtime/sigtab_linux_generic.go, _SigSetStack).
func cLibrary(sig syscall.Signal) bool { return sig >= 32 && sig <= 34 }

// needsThread reports whether the child dies with the thread that starts it
// (golang/go#27505).
func (c *Child) needsThread() bool {
	return c.Cmd.SysProcAttr != nil && c.Cmd.SysProcAttr.Pdeathsig != 0
}

// start starts the child. It inherits the mask of the thread.
func (c *Child) start() error {
	defer restoreMask()()
	return c.Cmd.Start()
}

// For waitid(2), from linux/wait.h and asm-generic/siginfo.h.
const (
	pPID     = 1          // P_PID
	wStopped = 2          // WSTOPPED
	wExited  = 4          // WEXITED
	wNoWait  = 0x01000000 // WNOWAIT: look, and leave it to be waited for
)

// A siginfo is what waitid tells: si_signo first, and si_status behind si_pid
// and si_uid, which are aligned to a word. The kernel writes 128 bytes.
type siginfo [32]int32

func (s *siginfo) status() syscall.Signal {
	if unsafe.Sizeof(uintptr(0)) == 8 {
		return syscall.Signal(s[6])
	}
	return syscall.Signal(s[5])
}

func waitid(pid, options int) (info siginfo, err error) {
	for {
		_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, pPID, uintptr(pid),
			uintptr(unsafe.Pointer(&info)), uintptr(options), 0, 0)
		switch errno {
		case 0:
			return info, nil
		case syscall.EINTR:
		default:
			return info, errno
		}
	}
}

// awaitEnd returns when the child has ended, and leaves its status to Wait. Of
// other children it takes nothing. When the child stops, it stops this process.
func (c *Child) awaitEnd() {
	pid := c.Cmd.Process.Pid
	for {
		if _, err := waitid(pid, wExited|wStopped|wNoWait); err != nil {
			return // Wait has the same problem, and tells
		}
		info, err := waitid(pid, wStopped|syscall.WNOHANG)
		if err != nil {
			return
		}
		if info[0] == 0 { // ended, or continued meanwhile
			if info, err := waitid(pid, wExited|wNoWait|syscall.WNOHANG); err != nil || info[0] != 0 {
				return
			}
			continue
		}

		// A shell that started us waits for us to stop, not for the child. But
		// SIGSTOP is a debugger's, or an operator's, and meant for the child.
		switch info.status() {
		case syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU:
			if !IsInit() { // whom the kernel does not stop
				syscall.Kill(syscall.Getpid(), syscall.SIGSTOP)
			}
		}
	}
}

// inForeground reports whether file is the terminal of this session, and this
// process in its foreground.
func inForeground(file *os.File) bool {
	pgrp, err := foreground(file)
	return err == nil && pgrp == syscall.Getpgrp()
}

// giveTerminal makes the child's group the foreground again. That is due when
// this process and the child have been stopped, and a shell has put this
// process into the foreground and woken it.
func (c *Child) giveTerminal() {
	c.mu.Lock()
	defer c.mu.Unlock()
	file, ok := c.Cmd.Stdin.(*os.File)
	if c.terminal && ok && c.state == childRunning && inForeground(file) {
		setForeground(file, c.Cmd.Process.Pid)
	}
}

// takeTerminal undoes Foreground when the child has ended, so that Ctrl-C
// reaches this process during what it still does.
func (c *Child) takeTerminal() {
	file, ok := c.Cmd.Stdin.(*os.File)
	if !c.terminal || !ok {
		return
	}
	if pgrp, err := foreground(file); err == nil && pgrp == c.Cmd.Process.Pid {
		setForeground(file, syscall.Getpgrp())
	}
}

// foreground is tcgetpgrp(3).
func foreground(file *os.File) (pgrp int, err error) {
	id := int32(-1)
	err = ioctl(file, syscall.TIOCGPGRP, &id)
	return int(id), err
}

// setForeground is tcsetpgrp(3), in vain if the terminal has gone. From the
// background that takes blocking SIGTTOU, which would stop this process.
func setForeground(file *os.File, pgrp int) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ttou, old := uint64(1)<<(syscall.SIGTTOU-1), uint64(0)
	if !sigprocmask(sigBlock, &ttou, &old) {
		return
	}
	defer sigprocmask(sigSetmask, &old, nil)

	id := int32(pgrp)
	_ = ioctl(file, syscall.TIOCSPGRP, &id)
}

const sigBlock, sigSetmask = 0, 2 // SIG_BLOCK, SIG_SETMASK; MIPS has others, and refuses

func sigprocmask(how uintptr, set, old *uint64) bool {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, how,
		uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(old)), 8, 0, 0)
	return errno == 0
}

func ioctl(file *os.File, request uintptr, arg *int32) error {
	conn, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var errno syscall.Errno
	err = conn.Control(func(fd uintptr) {
		_, _, errno = syscall.Syscall(syscall.SYS_IOCTL, fd, request, uintptr(unsafe.Pointer(arg)))
	})
	if err == nil && errno != 0 {
		err = errno
	}
	return err
}
