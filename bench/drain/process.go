// SPDX-License-Identifier: MIT

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// timeLimit is for what hangs: a server, or clients that it does not let go.
const timeLimit = time.Minute

// A process is a subject that serves in a process of its own.
type process struct {
	addr string
	cmd  *exec.Cmd

	// The rest is valid once ended is closed.
	ended    chan struct{}
	seen     []int     // requests that reached a handler
	returned time.Time // when the subject did; zero: never
	err      error
}

// start starts a server process. It accepts connections when start returns.
func start(j job) (*process, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer write.Close()
	path, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(path, "serve", string(text)), ended: make(chan struct{})}
	var output bytes.Buffer
	p.cmd.Stdout, p.cmd.Stderr = &output, &output
	p.cmd.ExtraFiles = []*os.File{write} // pipeFile
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		read.Close()
		return nil, err
	}

	serving := make(chan struct{})
	go func() {
		defer close(p.ended)
		p.listen(read, serving)
		if err := p.cmd.Wait(); err != nil {
			p.err = fmt.Errorf("%s: %w; output: %s", j.Subject, err, output.Bytes())
		}
	}()
	select {
	case <-serving:
		return p, nil
	case <-p.ended:
		return nil, fmt.Errorf("ended before it served: %w", p.err)
	case <-time.After(timeLimit):
		p.kill()
		return nil, fmt.Errorf("%s does not serve", j.Subject)
	}
}

// listen takes in what the process says until its end.
func (p *process) listen(pipe io.ReadCloser, serving chan<- struct{}) {
	defer pipe.Close()
	from := json.NewDecoder(pipe)
	for {
		var m message
		if from.Decode(&m) != nil {
			return
		}
		switch {
		case m.Addr != "":
			p.addr = m.Addr
			close(serving)
		case m.Seen != 0:
			p.seen = append(p.seen, m.Seen)
		case m.Returned:
			p.returned = time.Now()
		}
	}
}

// stop sends SIGTERM.
func (p *process) stop() error { return p.cmd.Process.Signal(syscall.SIGTERM) }

// errKilled is returned for a process that ended before its subject returned.
var errKilled = errors.New("ended before the stop was over")

// wait waits for the end of the process, in which the subject has to return.
func (p *process) wait() error {
	select {
	case <-p.ended:
	case <-time.After(timeLimit):
		p.kill()
	}
	if p.returned.IsZero() {
		return fmt.Errorf("%w: %v", errKilled, p.err)
	}
	return nil
}

func (p *process) address() string { return p.addr }

func (p *process) remove() error {
	p.kill()
	return nil
}

// kill ends the process, which may have ended.
func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.ended
}
