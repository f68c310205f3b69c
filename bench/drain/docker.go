// SPDX-License-Identifier: MIT

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/entrypoint-go/entrypoint/bench/internal/tool"
)

// containerPort is where a server in a container listens.
const containerPort = "8080"

// A container is a subject that is PID 1 of a container of its own.
type container struct{ id, addr string }

// buildImage makes an image of this program, to be removed by the function that it
// returns.
func buildImage() (image string, remove func() error, err error) {
	image = fmt.Sprintf("drain-%d", os.Getpid())
	if err := tool.BuildImage(image, "github.com/entrypoint-go/entrypoint/bench/drain"); err != nil {
		return "", nil, err
	}
	return image, func() error {
		_, err := tool.Docker("rmi", image)
		return err
	}, nil
}

// startContainer starts a server in a container. It accepts connections when
// startContainer returns.
func startContainer(image string, j job) (*container, error) {
	j.Addr = ":" + containerPort
	text, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	id, err := tool.Docker("run", "--detach", image, "serve", string(text))
	if err != nil {
		return nil, err
	}
	c := &container{id: id}
	if c.addr, err = tool.Docker("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}:"+containerPort, id); err != nil {
		return nil, errors.Join(err, c.remove())
	}
	for until := time.Now().Add(timeLimit); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", c.addr)
		if err == nil {
			return c, conn.Close()
		}
		if time.Now().After(until) {
			return nil, errors.Join(fmt.Errorf("%s does not serve: %w", j.Subject, err), c.remove())
		}
	}
}

func (c *container) address() string { return c.addr }

// stop does what docker stop does.
func (c *container) stop() error {
	_, err := tool.Docker("kill", "--signal", "TERM", c.id)
	return err
}

func (c *container) remove() error {
	_, err := tool.Docker("rm", "--force", c.id)
	return err
}
