#!/bin/sh
exec twistd --nodaemon --pidfile= fastcgi --authorizer authorizer.authorizer
