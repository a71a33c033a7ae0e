module example.com/fido-relay-sample

go 1.18
