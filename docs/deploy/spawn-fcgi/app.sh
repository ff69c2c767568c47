#!/bin/sh
# One process, in the foreground, for whatever starts it again when it ends.
cd /srv/app || exit
exec spawn-fcgi -n -s /run/app.sock -M 0660 -U www-data -G www-data -- \
    /usr/bin/twistd --nodaemon --pidfile= fastcgi --resource hello.Hello
