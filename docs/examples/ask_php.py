"""
Ask PHP-FPM to run a script: no web server in between.

    python ask_php.py unix:/run/php/php8.2-fpm.sock /srv/www/hello.php
"""

from sys import argv

from treq.client import HTTPClient
from twisted.internet.endpoints import clientFromString
from twisted.internet.task import react

from twisted_fastcgi import FastCGIAgent


async def main(reactor, address, script):
    agent = FastCGIAgent(
        reactor,
        clientFromString(reactor, address),
        variables={"SCRIPT_FILENAME": script},
        stderr=lambda request, data: print("PHP says:", data.decode()),
    )
    client = HTTPClient(agent)

    response = await client.get("http://www.example.com/?name=world")
    print(response.code, await response.text())

    response = await client.post("http://www.example.com/", data={"name": "form"})
    print(response.code, await response.text())

    print(await agent.getValues())

    await agent.close()


react(main, argv[1:])
