// SPDX-License-Identifier: MIT

// Fiber-adaptor: fiber behind net/http, so that it gets the whole drain. It costs
// a copy of each request; see fiber for fiber on its own server.
package main

import (
	"context"
	"net/http"
	"os"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/middleware/adaptor"
)

func main() {
	app := fiber.New()
	app.All("/", func(c *fiber.Ctx) error {
		time.Sleep(20 * time.Millisecond)
		return c.SendString("done\n")
	})
	srv := &http.Server{Addr: os.Getenv("ADDR"), Handler: adaptor.FiberApp(app)}
	pid1.Exit(pid1.Run(context.Background(), srv))
}
