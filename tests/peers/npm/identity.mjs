// Prints who the AWS SDK for JavaScript is, with nothing set but environment variables.
import { GetCallerIdentityCommand, STSClient } from "@aws-sdk/client-sts";

const told = await new STSClient({}).send(new GetCallerIdentityCommand({}));
console.log(told.Arn);
