// SPDX-License-Identifier: MIT

package pid1_test

import (
	"context"
	"fmt"
	"os"

	"github.com/entrypoint-go/entrypoint/pid1"
)

// All missing variables at once, before the first one is used.
func ExampleRequireEnv() {
	os.Setenv("EXAMPLE_DATABASE_URL", "postgres://localhost/")
	os.Setenv("EXAMPLE_REGION", "")

	err := pid1.RequireEnv("EXAMPLE_DATABASE_URL", "EXAMPLE_API_KEY", "EXAMPLE_REGION")
	fmt.Println(err) // in main: pid1.Exit(err)

	// Output:
	// pid1: environment variables required but not set: EXAMPLE_API_KEY; empty: EXAMPLE_REGION
}

// The same as a step of the start, so that its error is logged with the others.
func ExampleRequireEnv_before() {
	var app pid1.App
	app.Before("environment", func(context.Context) error {
		return pid1.RequireEnv("DATABASE_URL", "API_KEY")
	})
}
