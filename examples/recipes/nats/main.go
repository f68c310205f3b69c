// SPDX-License-Identifier: MIT

// Nats: Drain unsubscribes, lets the handlers end what was delivered, and closes.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
	"github.com/nats-io/nats.go"
)

func main() {
	closed := make(chan struct{})
	conn, err := nats.Connect(os.Getenv("NATS_URL"), nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	if err != nil {
		pid1.Exit(err)
	}
	consumer := pid1.Func(func(ctx context.Context) error {
		_, err := conn.QueueSubscribe("sleep", "workers", func(m *nats.Msg) {
			fmt.Println("job begins")
			time.Sleep(500 * time.Millisecond)
			fmt.Println("job ends")
			m.Respond([]byte("done"))
		})
		if err != nil {
			return err
		}
		<-ctx.Done()
		if err := conn.Drain(); err != nil {
			return err
		}
		<-closed
		return nil
	})
	pid1.Exit(pid1.Run(context.Background(), pid1.Named("consumer", consumer)))
}
