//go:build !linux

package pid1

import (
	"os"
	"syscall"
)

// lastSignal is the last signal that all systems have.
const lastSignal = 31

func leftIgnored(syscall.Signal) bool { return false }

func cLibrary(syscall.Signal) bool { return false }

func (c *Child) needsThread() bool { return false }

func (c *Child) start() error { return c.Cmd.Start() }

// awaitEnd leaves waiting to Wait.
func (c *Child) awaitEnd() {}

func (c *Child) giveTerminal() {}

func (c *Child) takeTerminal() {}

func inForeground(*os.File) bool { return false }
