// SPDX-License-Identifier: MIT

// Gin: the engine is an http.Handler, so it gets the whole drain.
package main

import (
	"context"
	"net/http"
	"os"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
	"github.com/gin-gonic/gin"
)

func main() {
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	engine.Any("/", func(c *gin.Context) {
		time.Sleep(20 * time.Millisecond)
		c.String(http.StatusOK, "done\n")
	})
	pid1.Exit(pid1.Run(context.Background(), &http.Server{Addr: os.Getenv("ADDR"), Handler: engine}))
}
