// SPDX-License-Identifier: MIT

// Watermill: a router of messages as a server.
package main

import (
	"context"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"
	"github.com/entrypoint-go/entrypoint/pid1"
)

func main() {
	messages := gochannel.NewGoChannel(gochannel.Config{Persistent: true}, watermill.NopLogger{})
	router, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
	if err != nil {
		pid1.Exit(err)
	}
	router.AddConsumerHandler("sleep", "sleep", messages, func(*message.Message) error {
		fmt.Println("job begins")
		time.Sleep(500 * time.Millisecond)
		fmt.Println("job ends")
		return nil
	})
	if err := messages.Publish("sleep", message.NewMessage(watermill.NewUUID(), nil)); err != nil {
		pid1.Exit(err)
	}
	serve := func() error { return router.Run(context.Background()) }
	stop := func(context.Context) error { return router.Close() } // waits for the handlers
	pid1.Exit(pid1.Run(context.Background(), pid1.Named("router", pid1.Service(serve, stop))))
}
