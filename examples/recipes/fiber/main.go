// SPDX-License-Identifier: MIT

// Fiber: fiber on its own server. Requests in flight end; a request that arrives
// on an idle connection at the moment of the stop may be lost.
package main

import (
	"context"
	"os"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
	"github.com/gofiber/fiber/v2"
)

func main() {
	app := fiber.New(fiber.Config{DisableStartupMessage: true})
	app.All("/", func(c *fiber.Ctx) error {
		time.Sleep(20 * time.Millisecond)
		return c.SendString("done\n")
	})
	serve := func() error { return app.Listen(os.Getenv("ADDR")) }
	pid1.Exit(pid1.Run(context.Background(), pid1.Named("fiber", pid1.Service(serve, app.ShutdownWithContext))))
}
