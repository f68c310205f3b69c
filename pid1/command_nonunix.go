//go:build !unix

package pid1

import "os"

var sigCont os.Signal // none

func (c *Child) prepareGroup() {}

func (c *Child) kick(sig os.Signal) error { return c.Cmd.Process.Signal(sig) }

// stop ends the child: no signal but os.Kill can be sent here.
func (c *Child) stop(os.Signal) error { return c.send(os.Kill) }

func (c *Child) signals() []os.Signal { return nil }
