// SPDX-License-Identifier: MIT

// Command asks asks for certificates, users and temporary files.
package main

import (
	"fmt"
	"net/http"
	"os"
	"os/user"
)

func main() {
	fmt.Println(http.Get("https://example.com"))
	fmt.Println(user.Current())
	fmt.Println(os.MkdirTemp("", ""))
}
