package pid1

import (
	"os"
	"strconv"
)

// wait collects the child, whose status is known. What is not an *os.File is copied
// from a pipe, and Wait lasts while any process has that open: until a stop runs
// out of time.
func (c *Child) wait(status int) error {
	if isFile(c.Cmd.Stdin) && isFile(c.Cmd.Stdout) && isFile(c.Cmd.Stderr) {
		return c.Cmd.Wait()
	}
	waited := make(chan error, 1)
	go func() { waited <- c.Cmd.Wait() }()
	select {
	case err := <-waited:
		return err
	case <-c.cut:
	}
	held := &heldError{status}
	c.complain("output is incomplete", held)
	if status == 0 {
		return nil
	}
	return held
}

func isFile(f any) bool {
	if f == nil {
		return true
	}
	_, ok := f.(*os.File)
	return ok
}

// A heldError is the end of a program whose output another process holds open.
type heldError struct{ status int }

func (e *heldError) Error() string {
	return "the program ended with status " + strconv.Itoa(e.status) +
		", but a process that it started holds its output open: set Cmd.WaitDelay"
}

func (e *heldError) ExitCode() int { return e.status }

// cutOutput ends the wait for output of a child that has ended. It reports whether
// it has.
func (c *Child) cutOutput() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == childEnded {
		c.cutOnce.Do(func() { close(c.cut) })
	}
	return c.state == childEnded
}
