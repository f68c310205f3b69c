// SPDX-License-Identifier: MIT

// Echo: it is an http.Handler, so it gets the whole drain. Do not call its Start.
package main

import (
	"context"
	"net/http"
	"os"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
	"github.com/labstack/echo/v4"
)

func main() {
	e := echo.New()
	e.Any("/", func(c echo.Context) error {
		time.Sleep(20 * time.Millisecond)
		return c.String(http.StatusOK, "done\n")
	})
	pid1.Exit(pid1.Run(context.Background(), &http.Server{Addr: os.Getenv("ADDR"), Handler: e}))
}
