// SPDX-License-Identifier: MIT

//go:build docker && linux

package pid1_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/dockertest"
)

// TestBytesInDocker: the network of a container ends with PID 1. A client that
// reads 1 MB/s gets its response whole all the same, and the end of the stream.
func TestBytesInDocker(t *testing.T) {
	image := dockertest.GoImage(t)
	for _, kind := range []string{"http", "tls", "listen"} {
		t.Run(kind, func(t *testing.T) {
			const size = 1 << 20
			flags := append(inContainer(t, "bytes"), "--entrypoint", "/test")
			c := dockertest.Run(t, image, flags, "-kind="+kind, "-addr=:8080", fmt.Sprintf("-size=%d", size))
			c.AwaitLog("serving")
			conn, err := net.Dial("tcp", c.Addr("8080"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if kind == "tls" {
				conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
			}
			if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: test\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			stopped := make(chan struct{})
			go func() {
				defer close(stopped)
				c.Stop(10 * time.Second)
			}()
			defer func() { <-stopped }()

			// A container that has ended sends nothing more, not even a reset.
			total, chunk := 1, make([]byte, 8<<10)
			for {
				conn.SetReadDeadline(time.Now().Add(30 * time.Second))
				n, err := conn.Read(chunk)
				total += n
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatalf("after %d of %d bytes: %v", total, size, err)
				}
				time.Sleep(time.Duration(n) * time.Second / 1e6)
			}
			if total < size {
				t.Errorf("received %d of %d bytes", total, size)
			}
			if code := c.Wait(); code != 0 {
				t.Errorf("exit code %d", code)
			}
		})
	}
}
