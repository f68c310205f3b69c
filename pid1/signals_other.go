//go:build !unix

package pid1

import (
	"os"
	"syscall"
)

// unfit says why a signal cannot be a stop signal.
var unfit = map[os.Signal]string{
	syscall.SIGKILL: "which no process can handle",
}

// signalName is sig's name in signal(7) where Go has one on this system.
func signalName(sig os.Signal) string {
	switch sig {
	case syscall.SIGTERM:
		return "SIGTERM"
	case syscall.SIGINT:
		return "SIGINT"
	case syscall.SIGHUP:
		return "SIGHUP"
	}
	return sig.String()
}
