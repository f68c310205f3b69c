// SPDX-License-Identifier: MIT

package pid1

import (
	"os"
	"os/exec"
	"strconv"
	"time"
)

// wait collects the child, whose status is known. What is not an *os.File is copied
// from a pipe, and Wait lasts while any process has that open: until a stop runs
// out of time.
func (c *Child) wait(status int) error {
	if isFile(c.Cmd.Stdin) && isFile(c.Cmd.Stdout) && isFile(c.Cmd.Stderr) {
		return c.collect()
	}
	waited := make(chan error, 1)
	go func() { waited <- c.collect() }()
	select {
	case err := <-waited:
		return err
	case <-c.cut:
		select {
		case err := <-waited:
			return err
		case <-time.After(10 * time.Millisecond): // for the rest of the output
		}
	}
	held := &heldError{status}
	c.mu.Lock()
	c.complainLocked("output is incomplete", held)
	c.mu.Unlock()
	if status == 0 {
		return nil
	}
	return held
}

// collect is Cmd.Wait, except that output which was cut off by Cmd.WaitDelay is not an
// error: Wait returns it only for status 0, and the status counts.
func (c *Child) collect() error {
	err := c.Cmd.Wait()
	if err != exec.ErrWaitDelay { // itself: what wraps it is a Writer's
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.complainLocked("output may be incomplete", err)
	return nil
}

func isFile(f any) bool {
	_, ok := f.(*os.File)
	return ok || f == nil
}

// A heldError is the end of a program whose output another process holds open.
type heldError struct{ status int }

func (e *heldError) Error() string {
	return "the program ended with status " + strconv.Itoa(e.status) + ", but a process that it started holds its output open: set Cmd.WaitDelay"
}

func (e *heldError) ExitCode() int { return e.status }

// cutOutput ends the wait for output of a child that has ended, or is dying. It
// reports whether it has ended.
func (c *Child) cutOutput(dying bool) (ended bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ended = c.state == childEnded; ended || dying {
		select {
		case <-c.cut: // already
		default:
			close(c.cut)
		}
	}
	return ended
}
