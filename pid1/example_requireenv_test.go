package pid1_test

import (
	"context"
	"fmt"
	"os"

	"github.com/entrypoint-go/entrypoint/pid1"
)

// All missing variables at once, before anything listens.
func ExampleRequireEnv() {
	os.Setenv("EXAMPLE_DATABASE_URL", "postgres://localhost/")
	os.Setenv("EXAMPLE_REGION", "")

	check := pid1.RequireEnv("EXAMPLE_DATABASE_URL", "EXAMPLE_API_KEY", "EXAMPLE_REGION")
	fmt.Println(check(context.Background())) // in a service: app.Before("environment", check)

	// Output:
	// pid1: environment variables required but not set: EXAMPLE_API_KEY; empty: EXAMPLE_REGION
}
