// The Go client of openapi-generator: opens, waits, and reads two errors.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"

	"generated/relay"
)

func code(err error) string {
	var refused *relay.GenericOpenAPIError
	if !errors.As(err, &refused) {
		log.Fatal(err)
	}
	problem, ok := refused.Model().(relay.Problem)
	if !ok {
		log.Fatalf("%T", refused.Model())
	}
	return problem.Code
}

func main() {
	configuration := relay.NewConfiguration()
	configuration.Servers = relay.ServerConfigurations{{URL: os.Getenv("RELAY")}}
	ceremonies := relay.NewAPIClient(configuration).CeremoniesAPI
	by := func(key string) context.Context {
		return context.WithValue(context.Background(), relay.ContextAccessToken, key)
	}
	order := relay.NewOpenCeremony(relay.CEREMONYTYPE_REGISTRATION, os.Getenv("WHO"))
	_, _, err := ceremonies.OpenCeremony(by("rk_wrong")).OpenCeremony(*order).Execute()
	refused := code(err)
	mine := by(os.Getenv("KEY"))
	opened, _, err := ceremonies.OpenCeremony(mine).OpenCeremony(*order).Execute()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(opened.Id, opened.GetCode())
	view, _, err := ceremonies.ReadCeremony(mine, opened.Id).Execute()
	for err == nil && view.Status == relay.STATUS_PENDING {
		view, _, err = ceremonies.ReadCeremony(mine, opened.Id).Wait(25).Since(view.Seq).Execute()
	}
	if err != nil || strings.Count(view.GetResult(), ".") != 2 {
		log.Fatal("no result: ", err)
	}
	_, _, err = ceremonies.CancelCeremony(mine, opened.Id).Execute()
	fmt.Println(view.Status, refused, code(err))
}
