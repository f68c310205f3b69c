// SPDX-License-Identifier: MIT

//go:build !unix

package pid1

import (
	"os"
	"syscall"
)

var sigCont os.Signal // none

func (c *Child) prepareGroup() {}

func (c *Child) sendSignal(s os.Signal) error { return c.Cmd.Process.Signal(s) }

// stop ends the child: no signal but os.Kill can be sent here.
func (c *Child) stop(os.Signal) error { return c.send(os.Kill) }

func (c *Child) signals() []os.Signal { return nil }

func (c *Child) awaitEnd() (status int, ended bool) { return exitError, false }

func (c *Child) giveTerminal() {}

func (c *Child) takeTerminal() {}

// passSockets does nothing: there is no systemd here.
func (c *Child) passSockets() (started func()) { return func() {} }

func execve(path string, argv, env []string) error { return syscall.Exec(path, argv, env) }
